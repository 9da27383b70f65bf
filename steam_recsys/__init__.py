"""The library that the stages, the explorer and notebooks share."""
