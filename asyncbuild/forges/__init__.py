"""Forges: where pushes come from, and who may fetch what."""
