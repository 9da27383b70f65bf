"""Evaluation on held-out time beside baselines and champion, the gate, and promotion; without TensorFlow."""
