"""Charts and pages of reports."""
