"""The three pipelines, each a story of components, and the targets that they are compiled for."""
