"""One commit's archive in S3, the cheapest way: in full, made of an older one, or copied."""
