"""Publish predictions in the shop's database, one version at a time."""
