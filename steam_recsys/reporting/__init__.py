"""Charts and pages for reports."""
