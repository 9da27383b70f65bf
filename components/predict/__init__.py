"""The champion × every user → recommendations, in shards of users."""
