"""Consumers of the queue of build results: they find out how builds ended, and record it."""
