"""Published versions in PostgreSQL and MongoDB: loading, switching, rolling back."""
