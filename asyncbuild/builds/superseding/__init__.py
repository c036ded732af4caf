"""Builds that a newer push may stop, in the bucket beside the ledger."""
