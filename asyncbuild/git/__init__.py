"""Snapshots of commits and their archive streams, through a cache of bare mirrors."""
