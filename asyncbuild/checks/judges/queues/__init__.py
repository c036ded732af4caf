"""Judges of the queues, by their attributes. Pure."""
