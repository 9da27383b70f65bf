"""TFRS 0.7.7 needs Keras 2, which TensorFlow takes only if told so before its first import."""

import os

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
