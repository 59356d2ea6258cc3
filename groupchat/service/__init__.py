"""GroupService, the one writer of the log, and its parts."""
