"""groupchat: a group is one ordered log, a member is one cursor into it, a front end only moves cursors."""

__version__ = "0.2.0"
