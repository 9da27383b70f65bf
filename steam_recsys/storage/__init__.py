"""Folders on disk or in a bucket, and the model store."""
