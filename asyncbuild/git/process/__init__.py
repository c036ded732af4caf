"""Execution of git: the command, its pipes, limits, memory and versions."""
