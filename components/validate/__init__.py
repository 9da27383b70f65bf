"""Check a snapshot against its contract."""
