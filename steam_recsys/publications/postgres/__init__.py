"""PostgreSQL as a destination: tables, COPY, and the views that are switched."""
