"""Training of the two-tower model; the only room that imports TensorFlow, which reads these when it is imported."""

import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"  # TFRS 0.7.7 does not run on Keras 3
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"  # its results differ between processors
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
