"""Messages about builds, and answers about them: parsed and compared. Pure."""
