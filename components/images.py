"""Images by role. A component names its role; the target of a compilation puts the real image in its place."""

DATA_IMAGE = "steam-recsys/data"
"""The stages that move and check data: no TensorFlow."""

MODEL_IMAGE = "steam-recsys/model"
"""The stages that train: TensorFlow."""
