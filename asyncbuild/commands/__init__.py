"""Commands of the command line, one module for each, and the exit codes."""
