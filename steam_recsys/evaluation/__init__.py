"""Offline evaluation: splits, held-out rows, metrics, rankers, baselines and confidence intervals."""
