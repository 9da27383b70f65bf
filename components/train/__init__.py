"""Training of the two-tower model. Only this stage uses TensorFlow, through `tensorflow_runtime`."""
