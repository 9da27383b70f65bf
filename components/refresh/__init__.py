"""Refresh: new lists in the current publication for the users who have reviewed since."""

STAGES = ["extract", "refresh"]
"""The stages of every run, by the pipeline and by `recsys refresh`."""
