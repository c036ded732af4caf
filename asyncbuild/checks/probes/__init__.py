"""Probes of `asyncbuild check --probe`: questions to AWS that no document or stand-in answers."""
