"""Previous archive and new tree → what to copy and what to send. Pure."""
