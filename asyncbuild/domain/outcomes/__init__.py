"""Outcome events: which events the end of a build makes, in what order, and their details. Pure."""
