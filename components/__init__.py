"""The stages of the recommendation pipeline, one folder per stage, and the images that run them.

A component names its image by role; the target of a compilation puts the real image in its place.
"""

DATA_IMAGE = "steam-recsys/data"
"""For stages that move and check data: no TensorFlow."""

MODEL_IMAGE = "steam-recsys/model"
"""For stages that train and evaluate: TensorFlow."""
