"""The images that the stages run in, one folder each, and their building under tags that come from their content."""
