"""Order inside one message group: a pure state machine and its helpers. Pure."""
