"""Monitoring: drift, age and realised quality of the champion, and whether to train again."""
