"""The group itself: its events, its rules, and what waits for each member. Pure: no clock, no I/O, no Twisted."""
