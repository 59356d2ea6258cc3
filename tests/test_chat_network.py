"""The chat over networks that lose datagrams and break connections."""

from __future__ import annotations

import contextlib
import os
import random
import re
import select
import socket
import struct
import subprocess
import threading
from collections import Counter
from pathlib import Path
from tempfile import NamedTemporaryFile

from tests.daemon import Daemon, LineMember
from tests.slow import slow
from tests.test_client import CLIENT, ENVIRONMENT, SECONDS, ProcessCase, wait_until

BREAKS = 50 if os.environ.get("GROUPCHAT_SLOW") == "1" else 8

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends a reset


class LossyRelay:
    """Carries datagrams between one client and a server, and loses some of them in both directions."""

    def __init__(self, port: int, loss: float, seed: int) -> None:
        self._client_side = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._client_side.bind(("127.0.0.1", 0))
        self._server_side = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._server_side.connect(("127.0.0.1", port))
        self.port: int = self._client_side.getsockname()[1]
        self.lost = 0
        self._loss, self._random = loss, random.Random(seed)
        self._client: tuple[str, int] | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self._thread.start()

    def _carry(self) -> None:
        while not self._closed:
            for side in select.select([self._client_side, self._server_side], [], [], 0.05)[0]:
                datagram, sender = side.recvfrom(65_535)
                if side is self._client_side:
                    self._client = sender
                if self._random.random() < self._loss:
                    self.lost += 1
                elif side is self._client_side:
                    self._server_side.send(datagram)
                elif self._client is not None:
                    self._client_side.sendto(datagram, self._client)

    def close(self) -> None:
        self._closed = True
        self._thread.join(SECONDS)
        self._client_side.close()
        self._server_side.close()


class BreakingRelay:
    """Carries one connection after the other to a server, and breaks one in the middle of a line when told to."""

    def __init__(self, port: int) -> None:
        self._server = ("127.0.0.1", port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(0.05)
        self.port: int = self._listening.getsockname()[1]
        self.breaks = 0
        self._left: int | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def break_after(self, count: int) -> None:
        """Break the connection after `count` more bytes in either direction."""
        self._left = count

    def _serve(self) -> None:
        while not self._closed:
            with contextlib.suppress(TimeoutError):
                client, _ = self._listening.accept()
                with client, socket.create_connection(self._server) as server:
                    self._carry(client, server)

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        other = {client: server, server: client}
        while not self._closed:
            for side in select.select([client, server], [], [], 0.05)[0]:
                try:
                    data = side.recv(65_536)
                except OSError:
                    data = b""
                left = self._left
                if left is not None and data:
                    self._left = left - len(data)
                    data = data[:left]
                if data:
                    other[side].sendall(data)
                if self._left is not None and self._left <= 0:
                    self._left = None
                    self.breaks += 1
                    if self.breaks % 2:
                        for end in (client, server):
                            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    return
                if not data:
                    return

    def close(self) -> None:
        self._closed = True
        self._thread.join(SECONDS)
        self._listening.close()


class Client:
    """The client, with a pipe as input, and files for its output and standard error."""

    def __init__(self, *arguments: str) -> None:
        self._output, self._errors = NamedTemporaryFile(), NamedTemporaryFile()  # noqa: SIM115 - see `close`
        self.process = subprocess.Popen(
            [*CLIENT, *arguments], stdin=subprocess.PIPE, stdout=self._output, stderr=self._errors, env=ENVIRONMENT
        )

    @property
    def lines(self) -> list[str]:
        return Path(self._output.name).read_text().splitlines()

    @property
    def complaints(self) -> list[str]:
        return Path(self._errors.name).read_text().splitlines()

    def type(self, *lines: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("".join(f"{line}\n" for line in lines).encode())
        self.process.stdin.flush()

    def end(self) -> int:
        """End its input and wait until it has ended. Return the exit status."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(3 * SECONDS)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for file in (self.process.stdin, self._output, self._errors):
            assert file is not None
            with contextlib.suppress(OSError):
                file.close()


class NetworkTest(ProcessCase):
    def setUp(self) -> None:
        super().setUp()
        self.daemon = Daemon("--db", ":memory:", "--rate", "0", "--tcp", "0")
        self.addCleanup(self.daemon.stop)
        self.bob = LineMember(self.daemon.tcp[0])
        self.addCleanup(self.bob.close)
        self.bob.join("Bob")

    def client(self, scheme: str, port: int, *options: str) -> Client:
        client = Client(f"{scheme}://127.0.0.1:{port}", "--name", "Alice", *options)
        self.addCleanup(client.close)
        return client

    @slow
    def test_a_fifth_of_all_datagrams_is_lost(self) -> None:
        relay = LossyRelay(self.daemon.port, 0.2, seed=21)
        self.addCleanup(relay.close)
        client = self.client("udp", relay.port, "--poll", "3600")
        texts = [f"text {number}." for number in range(6)]
        client.type(*texts)
        status = client.end()
        self.bob.send("the end", "/quit")
        heard = Counter(line for line in self.bob.receive_all() if line.startswith("Alice: "))
        doubtful = {
            found[1] for line in client.complaints if (found := re.search(r'Not confirmed.*"(text \d+\.)"', line))
        }
        self.assertGreater(relay.lost, 2)
        self.assertTrue(doubtful, client.complaints)
        self.assertEqual(status, 1)
        for text in texts:
            times = heard.pop(f"Alice: {text}", 0)
            self.assertLessEqual(times, 1, text)
            if text not in doubtful:
                self.assertEqual(times, 1, f"{text} was lost without a word")
        self.assertEqual(heard, Counter(), "nobody said that")

    def test_a_connection_breaks_many_times(self) -> None:
        relay = BreakingRelay(self.daemon.tcp[0])
        self.addCleanup(relay.close)
        client = self.client("tcp", relay.port)
        self.assertEqual(self.bob.receive(), "Alice has joined")
        dice = random.Random(50)
        mine, theirs = [], []
        for turn in range(BREAKS):
            said = [f"{number} is what was said in turn {turn} of many" for number in range(10)]
            relay.break_after(dice.randrange(1, 400))
            client.type(*said)
            self.bob.send(*said)
            mine += said
            theirs += said
            last = f"Bob: {said[-1]}"
            wait_until(lambda last=last: last in client.lines, lambda: f"{client.complaints[-5:]}")  # type: ignore[misc]
            self.assertEqual(relay.breaks, turn + 1)
        self.bob.send("the end")
        wait_until(lambda: "Bob: the end" in client.lines, lambda: f"{client.lines[-5:]} {client.complaints[-5:]}")
        self.assertEqual(client.end(), 0)
        self.bob.send("/quit")
        heard = [line for line in self.bob.receive_all() if not line.startswith("* ")]
        self.assertEqual(heard, [*(f"Alice: {line}" for line in mine), "Alice has left the group"])
        shown = [line for line in client.lines if line.startswith("Bob: ")]
        self.assertEqual(shown, [*(f"Bob: {line}" for line in theirs), "Bob: the end"])
        self.assertFalse([line for line in client.complaints if "Not " in line])
