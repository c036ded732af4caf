"""Parsers of output of git and LFS servers, and the classes of their errors. Pure."""
