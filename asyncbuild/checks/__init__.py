"""`asyncbuild check`: facts → findings. What asks (`look`) is apart from what judges."""
