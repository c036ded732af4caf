"""asyncbuild: build every branch on every push."""

__version__ = "0.1.0"
