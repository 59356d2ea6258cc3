"""The control socket: how groupchat-admin asks the running daemon. See docs/operations.md."""

from groupchat.control.server import Ask as Ask
from groupchat.control.server import ControlFactory as ControlFactory
from groupchat.control.server import ControlService as ControlService
from groupchat.control.server import check_usable as check_usable
