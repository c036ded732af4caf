"""Git LFS: the contents of large files, which a commit only points at."""
