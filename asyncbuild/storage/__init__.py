"""Zip bytes → S3 object: whole or not at all (I7)."""
