"""Batch prediction: recommendations of the champion for every user, in shards of users."""
