"""Splits, metrics, rankers, baselines and intervals."""
