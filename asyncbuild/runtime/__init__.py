"""The process: its log, children, task groups, memory, locks, signals."""
