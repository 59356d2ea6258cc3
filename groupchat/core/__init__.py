"""The group itself: what can happen, what is allowed, and who is told. Pure: no clock, no I/O, no Twisted."""
