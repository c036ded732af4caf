"""Nouns and decisions that every other package may use. Pure."""
