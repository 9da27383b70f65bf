"""Snapshots and what is read from them: interactions, histories, games, popularity."""
