"""One module for each command, and the exit codes."""
