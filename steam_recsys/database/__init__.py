"""PostgreSQL: connections, COPY, named queries, and the SQL of both schemas."""
