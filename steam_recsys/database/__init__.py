"""PostgreSQL: connections, COPY, and the SQL of both schemas."""
