"""The demo: an embedded PostgreSQL, a generator of synthetic reviews, and the whole loop on this machine."""
