"""Forges: systems that host repositories, and access to them."""
