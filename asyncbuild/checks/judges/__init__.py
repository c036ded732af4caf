"""Judges of `asyncbuild check`: facts → findings. Pure."""
