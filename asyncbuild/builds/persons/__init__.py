"""Names of persons in the ledger, and their removal."""
