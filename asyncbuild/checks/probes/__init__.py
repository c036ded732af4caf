"""`asyncbuild check --probe`: asks AWS what no document says and no stand-in can tell."""
