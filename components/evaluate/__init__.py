"""Evaluation on held-out reviews, the gate and promotion; without TensorFlow."""
