"""Contents that a commit only points at: submodules and Git LFS."""
