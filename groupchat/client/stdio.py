"""Run a protocol on standard input and output."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from twisted.internet.stdio import StandardIO

from groupchat.client.process import ending_signals, standard_descriptors_restored


def run_on_stdio(reactor: Any, protocol: object, interrupt: Callable[[int], None]) -> None:
    """Run the reactor with a protocol on standard input and output. Signals that end a client go to `interrupt`."""
    signals = ending_signals()
    standard_io: Callable[..., object] = StandardIO

    def start() -> None:
        for number in signals:
            signal.signal(number, lambda received, _: reactor.callFromThread(interrupt, received))
        standard_io(protocol, reactor=reactor)

    with standard_descriptors_restored():
        reactor.callWhenRunning(start)
        reactor.run()
