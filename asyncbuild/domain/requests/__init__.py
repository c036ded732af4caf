"""Requests: messages of the service's own that ask for a build of a ref or of a commit."""
