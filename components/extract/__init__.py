"""Extract the operational schema into a Parquet snapshot."""
