"""The lines of the daemon's log: text for people, or JSON for programs.

Two rules. An event is one line of text, or one and more that begin with a tab, so nobody outside can write a line of
their own. And no character can drive a terminal that shows it.
"""

from __future__ import annotations

from typing import Any, TextIO

from twisted.logger import FileLogObserver, ILogObserver, LogEvent, LogLevel, eventAsJSON, eventAsText, formatTime

from groupchat.core.texts import FORBIDDEN

_OBJECTS = ("log_logger", "log_source")
"""What says nothing outside of the process."""


def observer_for(file: TextIO, *, as_json: bool) -> ILogObserver:
    """Return what writes each event to a file, as text or as one JSON object a line."""
    return FileLogObserver(file, json_line if as_json else text_line)


def text_line(event: LogEvent) -> str | None:
    """Return the line of an event: when, how serious, what, and the traceback if there is one. None if it is empty."""
    text = _text(event)
    level = event.get("log_level", LogLevel.info).name
    return f"{formatTime(event.get('log_time'))} [{level}] {safe(text)}\n" if text else None


def json_line(event: LogEvent) -> str:
    """Return the JSON of an event, as Twisted writes and reads it, with the line for people in `text`."""
    kept: dict[str, Any] = {key: value for key, value in event.items() if key not in _OBJECTS}
    return eventAsJSON({**kept, "text": _text(event)}) + "\n"


def _text(event: LogEvent) -> str:
    return eventAsText(event, includeTimestamp=False, includeSystem=False)


def safe(text: str) -> str:
    """Return text with escapes in place of characters that could drive a terminal; further lines begin with a tab."""
    return "\n\t".join(FORBIDDEN.sub(_escaped, line) for line in text.split("\n"))


def _escaped(found: Any) -> str:
    return f"\\u{ord(found[0]):04x}"
