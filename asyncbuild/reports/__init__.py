"""Reports of builds to forges: a queue of their own, and consumers that post commit statuses."""
