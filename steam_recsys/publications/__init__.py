"""Published versions in PostgreSQL and MongoDB: load, switch, roll back."""
