"""Git LFS: contents of large files, which a commit only refers to."""
