"""Tree of one commit: entries, attributes, blobs, and how much work its archive is."""
