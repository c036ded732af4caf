"""Commit statuses on forges: one module for each forge, behind one Protocol."""
