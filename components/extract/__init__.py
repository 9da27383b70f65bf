"""The operational schema → a Parquet snapshot."""
