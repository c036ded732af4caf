"""Status of the service for people and machines: health, metrics, the live page."""
