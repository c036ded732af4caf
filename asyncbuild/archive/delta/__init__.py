"""Archives made from an older archive by range copies."""
