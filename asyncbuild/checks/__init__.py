"""Command `asyncbuild check`: facts → findings. The modules that gather are apart from judges."""
