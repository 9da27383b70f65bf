"""The snapshot against its contract: what later stages may rely on."""
