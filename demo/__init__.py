"""The demo: an embedded PostgreSQL, a synthetic shop, and the whole loop on this machine."""
