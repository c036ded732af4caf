"""Writers of zip bytes to S3 objects: whole or not at all (I7)."""
