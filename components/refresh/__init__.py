"""Refresh: new lists in the current publication for the users who have reviewed since."""
