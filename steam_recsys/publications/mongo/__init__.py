"""MongoDB as a destination."""
