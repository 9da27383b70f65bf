"""Training of the two-tower model; the only room that imports TensorFlow."""
