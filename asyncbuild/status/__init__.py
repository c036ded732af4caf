"""What the service does, for people and machines: health, metrics, the live page."""
