"""The order inside one message group: a state machine and its neighbours. Pure."""
