"""Tar and zip: reading headers, writing records, compressing a member. Pure."""
