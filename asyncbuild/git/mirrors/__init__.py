"""Cache of bare mirrors: fetching, sharing a fetch, maintenance, eviction."""
