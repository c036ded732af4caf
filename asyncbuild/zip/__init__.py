"""The zip engine: a tar stream becomes zip bytes, compressed on every core, in order."""
