"""One memory budget for the process (I6), in bytes, shared by every archive in work."""
