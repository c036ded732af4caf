"""Command `asyncbuild reconcile`: a look at repositories by hand."""
