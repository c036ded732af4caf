"""One commit's archive in S3, the cheapest way: in full, as a delta of an older one, or copied."""
