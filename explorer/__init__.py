"""The explorer: web pages and a JSON API over published recommendations."""
