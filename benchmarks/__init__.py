"""Benchmarks that measure this project and its peers in the same run."""
