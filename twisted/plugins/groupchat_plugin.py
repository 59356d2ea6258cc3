"""Tells twistd of `twistd groupchat`. Nothing else belongs here: twistd imports every plugin file at every start."""

from twisted.application.service import ServiceMaker

groupchat = ServiceMaker("groupchat", "groupchat.tap", "A group chat that anything can join.", "groupchat")
