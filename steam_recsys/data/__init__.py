"""Snapshots, the data read from them (interactions, histories, games, popularity), and predictions in the store."""
