"""Predictions → the schema `recsys` of the shop's database, a version at a time."""
