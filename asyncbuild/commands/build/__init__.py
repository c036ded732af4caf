"""`asyncbuild build`: ask the service for a build, and wait for its end."""
