"""The four pipelines, and the targets that they are compiled for."""
