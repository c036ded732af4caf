"""Facts → findings of `asyncbuild check`. Pure."""
