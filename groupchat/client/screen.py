"""The view for terminals: new lines are shown above the line that is being typed. Needs prompt_toolkit."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from zlib import crc32

from prompt_toolkit import PromptSession
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.output import create_output
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.shortcuts import CompleteStyle
from prompt_toolkit.styles import Style

from groupchat.client.chat import Chat
from groupchat.client.commands import gives_password
from groupchat.client.completion import ChatCompleter
from groupchat.client.files.progress import Bar, lines
from groupchat.client.lines import BYTE_ORDER_MARK
from groupchat.client.process import discard_output
from groupchat.client.view import Shown

LINES_AT_ONCE = 500
"""The most lines that are shown before keys are read again."""

MOST_LINES = 5_000
"""The most lines that may wait to be shown before the session is paused."""

GROUP_KINDS = ("private", "joined", "left", "renamed", "shared", "server")
"""Kinds of lines that are shown as the server sends them."""

COLOURS = {
    "private": "1;35",
    "joined": "2",
    "left": "2",
    "renamed": "2",
    "shared": "2",
    "server": "33",
    "answer": "2",
    "state": "33",
    "file": "33",
    "problem": "1;31",
}
"""SGR parameters (ECMA-48) for each kind of line. A text has a coloured name instead."""

OWN = "32"
FILE = "1"
NAME_COLOURS = ("36", "34", "96", "94", "92", "93")


@dataclass(frozen=True, slots=True)
class Question:
    words: str
    then: Callable[[str], None]
    secret: bool


class Screen:
    """A View on this process's terminal, in a running asyncio loop."""

    def __init__(self, *, colours: bool, times: bool, bell: bool) -> None:
        self.chat: Chat  # set by the owner
        self.interrupted: Callable[[], None]  # set by the owner; called for Ctrl-C, which is a key here and no signal
        self._colours = colours
        self._times = times
        self._bell = bell
        self._waiting: deque[str] = deque()  # rendered lines
        self._ring = False
        self._task: asyncio.Task[None] | None = None  # shows the lines
        self._paused = False
        self._name = ""
        self._question: Question | None = None
        self._bars: list[Bar] = []
        self._over = asyncio.Event()

    # View

    def show(self, lines: Sequence[Shown]) -> None:
        self._waiting.extend(self._rendered(line) for line in lines if line.about.get("state") != "began")
        self._ring = self._ring or (self._bell and any(line.for_me for line in lines))
        if len(self._waiting) > MOST_LINES and not self._paused:
            self._paused = True
            self.chat.session.pause()
        if self._task is None:
            self._task = asyncio.ensure_future(self._show_waiting())

    def ask(self, question: str, then: Callable[[str], None], *, secret: bool = False) -> None:
        self._question = Question(question, then, secret)
        self._redraw()

    def name_is(self, name: str) -> None:
        self._name = name
        self._redraw()

    def show_progress(self, bars: Sequence[Bar]) -> None:
        self._bars = list(bars)
        self._prompt.bottom_toolbar = self._toolbar if bars else None
        self._redraw()

    def close(self) -> None:
        self._over.set()

    # Showing

    async def _show_waiting(self) -> None:
        while self._waiting:
            some = [self._waiting.popleft() for _ in range(min(LINES_AT_ONCE, len(self._waiting)))]
            ring, self._ring = self._ring, False
            self._write(some, ring)
            await asyncio.sleep(0)  # let keys be read
        self._task = None
        if self._paused:
            self._paused = False
            self.chat.session.resume()

    def _write(self, lines: Sequence[str], ring: bool) -> None:
        """Write lines in place of the prompt, which is drawn again below them.

        With prompt_toolkit's `run_in_terminal` the terminal would echo what is typed meanwhile.
        """
        app, output = self._prompt.app, self._prompt.output
        if app.is_running:
            app.renderer.erase()
        output.write_raw("".join([f"{line}\r\n" for line in lines]) + ("\a" if ring else ""))
        output.flush()
        app.invalidate()

    def _flush(self, flush: Callable[[], None]) -> None:
        """Write to the terminal. If it is gone, leave: SIGHUP may be ignored."""
        try:
            flush()
        except OSError:
            discard_output()
            self.chat.status = self.chat.status or 1
            self.chat.leave()

    def _rendered(self, shown: Shown) -> str:
        at = time.strftime("%H:%M ") if self._times else ""
        waits = "  (waits for the server)" if shown.waits else ""
        if shown.kind in ("said", "own"):
            colour = OWN if shown.kind == "own" else NAME_COLOURS[crc32(shown.name.encode()) % len(NAME_COLOURS)]
            if not self._colours:
                return f"{at}{shown.name}: {shown.text}{waits}"
            bold = "1;" if shown.for_me else ""
            return f"\x1b[2m{at}\x1b[0;{bold}{colour}m{shown.name}:\x1b[0m {shown.text}\x1b[2m{waits}\x1b[0m"
        text = shown.line if shown.kind in GROUP_KINDS else f"-- {shown.text}"
        if not self._colours:
            return at + text
        if shown.kind == "shared":
            before, _, behind = text.rpartition(shown.text)
            text = f"{before}\x1b[0;{FILE}m{shown.text}\x1b[0;{COLOURS['shared']}m{behind}"
        kind = "problem" if shown.about.get("state") == "failed" else shown.kind
        return f"\x1b[2m{at}\x1b[0;{COLOURS[kind]}m{text}\x1b[0m"

    def _redraw(self) -> None:
        self._prompt.app.invalidate()

    # Typing

    @cached_property
    def _prompt(self) -> PromptSession[str]:
        output = create_output()
        if isinstance(output, Vt100_Output):
            output.enable_cpr = False  # not every terminal reports where the cursor is, and nothing here needs it
            output.get_rows_below_cursor_position = lambda: 1  # type: ignore[method-assign] # shows the toolbar without it
            output.flush = partial(self._flush, output.flush)  # type: ignore[method-assign]
        keys = KeyBindings()
        keys.add("c-c")(lambda event: self.interrupted())
        return PromptSession(
            self._message,
            history=InMemoryHistory(),
            key_bindings=keys,
            completer=ChatCompleter(self.chat),
            complete_while_typing=False,
            complete_style=CompleteStyle.READLINE_LIKE,
            reserve_space_for_menu=0,
            erase_when_done=True,
            is_password=Condition(lambda: self._question is not None and self._question.secret),
            output=output,
            style=Style.from_dict({"bottom-toolbar": "noreverse"}),
        )

    def _toolbar(self) -> str:
        return "\n".join(lines(self._bars, self._prompt.output.get_size().columns - 1))

    def _message(self) -> str:
        return f"{self._question.words} " if self._question else f"{self._name}> " if self._name else "> "

    async def run(self) -> None:
        """Read what is typed until the chat is over."""
        over = asyncio.ensure_future(self._over.wait())
        self._prompt.default_buffer.accept_handler = self._accept
        if not self._over.is_set():
            typing = asyncio.ensure_future(self._prompt.prompt_async(handle_sigint=False))
            await asyncio.wait([typing, over], return_when=asyncio.FIRST_COMPLETED)
            if not typing.done():
                self._prompt.app.exit(result="")
                await asyncio.wait([typing])
            with suppress(EOFError):
                typing.result()
            self.chat.leave()
        await over
        while self._task is not None:
            await self._task

    def _accept(self, buffer: Buffer) -> bool:
        """Handle Enter. The prompt stays, so that the terminal itself never echoes a key between two prompts."""
        lines = buffer.text
        if self._question is None and not any(map(gives_password, lines.splitlines())):  # an answer may be one, too
            buffer.append_to_history()
        buffer.reset()
        buffer.load_history_if_not_yet_loaded()
        self._typed(lines)
        return True  # keep the buffer: a second reset would lose the history until it is drawn again

    def _typed(self, lines: str) -> None:
        """Pass on what was typed or pasted. Several lines were pasted."""
        text = lines.encode("utf-8", "surrogateescape").decode("utf-8", "replace").removeprefix(BYTE_ORDER_MARK)
        rows = [row for row in text.splitlines() if row.strip()]
        if len(rows) > 1 and self._question is None:
            self.chat.pasted(rows)
        elif len(rows) > 1:
            self.chat.problem("An answer is one line.")
        elif rows:
            question, self._question = self._question, None
            if question is None:
                self.chat.typed(rows[0])
            else:
                question.then(rows[0].strip())
