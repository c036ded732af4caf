"""Process-wide services: log, children, task groups, memory, locks, signals."""
