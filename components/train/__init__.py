"""Training of the two-tower model. Only this stage uses TensorFlow, through `tensorflow_runtime`."""

PERSONAL_BUDGET = 0.03
"""Share of the best validation NDCG@10 that may be given up for lists that differ more between users."""
