"""One commit's archive in S3, the cheapest way: made anew, made of an older one, or copied."""
