"""What comes in, and in which order."""
