"""The command line `recsys`: one module per sub-command, imported when that sub-command is called."""
