"""Raw CSV → the operational schema in PostgreSQL."""
