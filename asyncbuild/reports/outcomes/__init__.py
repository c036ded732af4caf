"""Outcome events on their way to EventBridge: decided once, sent at least once."""
