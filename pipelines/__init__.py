"""The three pipelines, and the targets that they are compiled for."""
