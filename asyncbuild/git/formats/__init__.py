"""Parsers of what git and LFS servers write, and the classes of their errors. Pure."""
