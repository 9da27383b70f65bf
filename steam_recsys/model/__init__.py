"""The model as plain arrays, without TensorFlow: towers, item-item weights, retrieval and explanations."""
