"""Watching: has the shop moved away from what the champion learnt, do its recommendations hit, must it be retrained."""
