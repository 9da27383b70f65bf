"""The outcome of a run, for those who were not watching."""
