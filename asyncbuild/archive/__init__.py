"""Archive stream → zip bytes: what `git archive` says, compressed on every core, in order."""
