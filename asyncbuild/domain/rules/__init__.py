"""Rules: which pushes they match, and what they ask for. Pure."""
