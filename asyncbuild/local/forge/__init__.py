"""Stand-in for the APIs of forges, on which tests and the demo post commit statuses."""
