"""What is recommended, for people who would rather look than read SQL, and as JSON for the shop's developers."""
