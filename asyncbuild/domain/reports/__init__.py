"""Reports of builds to forges: which commit status is due, its words, its message. Pure."""
