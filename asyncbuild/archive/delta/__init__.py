"""Archives made of an older archive by range copies."""
