"""Chunked bodies on a connection: they are read as far as there is room in each turn of the reactor."""

from __future__ import annotations

from typing import Protocol

from groupchat.frontends.turn_budget import TurnBudget
from groupchat.frontends.web.chunks import ChunkedBody, Malformed

EACH = 32
"""Chunks of one body that are read in a turn, so that several bodies share it: more than 64 KiB usually have."""


class Receiver(Protocol):
    """The connection that a body comes from. It keeps what comes behind the body."""

    def chunk_received(self, data: bytes) -> None: ...

    def chunks_ended(self, rest: bytes) -> None: ...

    def chunks_malformed(self) -> None: ...

    def hold(self, reason: str, held: bool) -> None:
        """Read nothing more for this reason; or, if `held` is false, go on unless there is another reason."""


class ChunkReader:
    """The reader of one body. Each chunk counts as a line: a tiny one costs about as much."""

    def __init__(self, receiver: Receiver, budget: TurnBudget) -> None:
        self._receiver: Receiver | None = receiver
        self._budget = budget
        self._body = ChunkedBody()
        self._is_behind = False  # the rest of what came is read in a later turn

    def feed(self, data: bytes) -> None:
        self._body.feed(data)
        if not self._is_behind:
            self._read()

    def stop(self) -> None:
        """Read nothing more: the connection is lost."""
        self._receiver = None

    def _read(self) -> None:
        receiver, budget, body = self._receiver, self._budget, self._body
        if receiver is None:
            return
        try:
            for _ in range(EACH):
                data = body.read() if budget.room > 0 else b""
                if not data:
                    break
                budget.spend(1)
                receiver.chunk_received(data)
        except Malformed:
            receiver.chunks_malformed()
            return
        if body.is_over:
            receiver.chunks_ended(body.rest())
        elif data or budget.room <= 0:
            self._is_behind = True
            receiver.hold("chunks", True)
            budget.wait(self._go_on)

    def _go_on(self) -> None:
        self._is_behind = False
        if self._receiver is not None:
            self._receiver.hold("chunks", False)
            self._read()
