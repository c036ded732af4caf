"""From (repository, ref, commit) to an archive stream, through a cache of bare mirrors."""
