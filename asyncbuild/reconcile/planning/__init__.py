"""Planning of a round: listings, snapshots, and what each ref asks for. Pure."""
