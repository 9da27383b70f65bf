"""Record how runs ended, and alert operators."""
