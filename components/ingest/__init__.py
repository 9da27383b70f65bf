"""Load raw CSV files into the operational schema in PostgreSQL."""
