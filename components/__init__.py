"""The stages of the recommendation pipeline, one room a stage."""
