"""Members of every transport behind one interface, so one conversation can take place over each of them."""

from __future__ import annotations

import secrets
import time
from abc import ABC, abstractmethod

from groupchat.wire.lines import HELP
from tests.daemon import SECONDS, LineMember, UDPMember

LAST_OF_HELP = f"* {HELP[-1]}"
FIRST_WORDS = "* What is your name?"


class Refused(Exception):
    """A command was refused, in the server's words."""


class Member(ABC):
    """A member, or somebody who wants to join. Each command is done when its method returns, or raises Refused."""

    def __init__(self) -> None:
        self._lines: list[str] = []  # received, but not yet returned by `sees`

    @abstractmethod
    def join(self, name: str) -> list[str]:
        """Become a member. Return who was here, the newest first."""

    @abstractmethod
    def say(self, text: str) -> None: ...

    @abstractmethod
    def rename(self, name: str) -> None: ...

    @abstractmethod
    def leave(self) -> None: ...

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def _look(self) -> None:
        """Receive some lines of the others, or wait a little for them."""

    def sees(self, count: int) -> list[str]:
        """Return the next lines of the others, once they have come."""
        until = time.monotonic() + SECONDS
        while len(self._lines) < count:
            if time.monotonic() > until:
                raise AssertionError(f"{self._lines} is all there is, of {count} lines")
            self._look()
        lines, self._lines = self._lines[:count], self._lines[count:]
        return lines

    def whisper(self, name: str, text: str) -> None:
        raise NotImplementedError


class Polling(Member):
    """A member over UDP, who sees in each reply what waited for it."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._udp = UDPMember(port)

    def join(self, name: str) -> list[str]:
        return _names(self._ask(f"1 {name}"))

    def say(self, text: str) -> None:
        self._take(self._ask(f"2 {text}"))

    def rename(self, name: str) -> None:
        self._take(self._ask(f"3 {name}"))

    def leave(self) -> None:
        self._ask("4")

    def close(self) -> None:
        self._udp.close()

    def _look(self) -> None:
        self._take(self._ask("5"))
        if not self._lines:
            time.sleep(0.01)

    def _ask(self, request: str) -> str:
        reply = self._udp.ask(request)
        if reply == "Illegal message":
            raise Refused(reply)
        return reply

    def _take(self, reply: str) -> None:
        if reply:
            self._lines += reply.split("\n")


class OverLines(Member):
    """A member with a connection for live lines."""

    def __init__(self, connection: LineMember) -> None:
        super().__init__()
        self._connection = connection
        self._here: list[str] | None = None

    def close(self) -> None:
        self._connection.close()

    def _enter(self, line: str, welcome: str) -> list[str]:
        """Join with a line whose answer begins with `welcome`. Return who was here, the newest first."""
        if self._here is None:
            self._here = _here(self._connection.receive_until(FIRST_WORDS))
        self._connection.send(line)
        told = self._connection.receive()
        if not told.startswith(welcome):
            raise Refused(told)
        return self._here


class Live(OverLines):
    """A person. Each line is followed by /help, whose answer shows that the line was carried out."""

    def join(self, name: str) -> list[str]:
        return self._enter(name, "* You are ")

    def say(self, text: str) -> None:
        self._do(text)

    def rename(self, name: str) -> None:
        self._do(f"/name {name}", f"* You are {name} now.")

    def whisper(self, name: str, text: str) -> None:
        self._do(f"/msg {name}: {text}", f"* Only {name} will see that.")

    def leave(self) -> None:
        self._connection.send("/quit")
        end = self._connection.receive_all()
        assert end[-1:] == ["* You have left the group."], end

    def _look(self) -> None:
        self._lines.append(self._connection.receive())

    def _do(self, line: str, told: str = "") -> None:
        self._connection.send(line, "/help")
        notes: list[str] = []
        for came in self._connection.receive_until(LAST_OF_HELP):
            (notes if came.startswith("* ") else self._lines).append(came)
        before = notes[: notes.index("* What you type goes to all the others. A line that begins with / is a command:")]
        if before != [told] * bool(told):
            raise Refused("\n".join(before))


class Numbered(OverLines):
    """A program with a numbered session: commands have ids, and lines have numbers."""

    def __init__(self, connection: LineMember) -> None:
        super().__init__(connection)
        self._asked = 0

    def join(self, name: str) -> list[str]:
        return self._enter(f"/numbered {secrets.token_hex(16)} {name}", "session ")

    def say(self, text: str) -> None:
        self._do(text)

    def rename(self, name: str) -> None:
        self._do(f"/name {name}")

    def whisper(self, name: str, text: str) -> None:
        self._do(f"/msg {name}: {text}")

    def leave(self) -> None:
        self._do("/quit")

    def _look(self) -> None:
        number, _, line = self._connection.receive().partition(" ")
        assert number.isdigit(), (number, line)
        self._lines.append(line)

    def _do(self, line: str) -> None:
        self._asked += 1
        self._connection.send(f"{self._asked} {line}")
        answers = (f"ok {self._asked}", f"no {self._asked} ")
        while not (came := self._connection.receive()).startswith(answers):
            self._lines.append(came.partition(" ")[2])
        if came.startswith("no"):
            raise Refused(came)


def _here(greeting: list[str]) -> list[str]:
    """Return who is in the group, from its greeting."""
    listed = [line.removeprefix("* Here now: ").removesuffix(".") for line in greeting if "Here now: " in line]
    return _names(listed[0]) if listed else []


def _names(listed: str) -> list[str]:
    return listed.split(", ") if listed else []
