"""Contents of what rules' `changes` match: what was started with them, and what passed. Pure."""
