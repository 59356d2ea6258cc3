"""The load generator for QUIC: handshakes, idle connections, and clients that never answer.

    quicload.py PORT MODE [-n connections] [-w window] [-s seconds]

    handshakes   `window` handshakes at a time for `seconds`: a complete one is closed, and another begins
    hold         that many connections, all at once, on which nothing is said
    forged       one first datagram, whose sender never answers; then one with a proven address, whose client is silent.
                 The bytes that come back in `seconds` are counted each time

Phases are as in load.h: one line on stdout for each, then one line of stdin is awaited.
"""

from __future__ import annotations

import argparse
import logging
import socket
import ssl
import sys
import time
from dataclasses import dataclass
from statistics import quantiles

from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

ALPN = "groupchat"
ID = 8
"""The length of connection ids, in bytes, as aioquic makes them."""
LARGEST = 65_507
GIVE_UP = 10.0
"""The longest time for one handshake, in seconds."""
QUIET = 1.0
"""Seconds after which the start of a connection is over."""


def phase(name: str, **figures: float) -> None:
    print(name, *(f"{key}={value:.6g}" for key, value in figures.items()), flush=True)
    sys.stdin.readline()


@dataclass(eq=False, slots=True)
class Client:
    quic: QuicConnection
    begun: float
    took: float = 0.0
    """The seconds that the handshake took, once it is complete."""


class Clients:
    """Many connections on one socket, found by the connection ids that they issued."""

    def __init__(self, port: int) -> None:
        self.address = ("127.0.0.1", port)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.connect(self.address)
        self.by_id: dict[bytes, Client] = {}
        self.clients: set[Client] = set()
        self.complete: list[Client] = []

    def begin(self) -> None:
        configuration = QuicConfiguration(alpn_protocols=[ALPN], is_client=True, verify_mode=ssl.CERT_NONE)
        client = Client(QuicConnection(configuration=configuration), time.monotonic())
        client.quic.connect(self.address, client.begun)
        self.by_id[client.quic.host_cid] = client
        self.clients.add(client)
        self.send(client)

    def send(self, client: Client) -> None:
        for datagram, _address in client.quic.datagrams_to_send(time.monotonic()):
            self.socket.send(datagram)

    def close(self, client: Client) -> None:
        client.quic.close()
        self.send(client)
        self.clients.discard(client)
        self.by_id = {cid: other for cid, other in self.by_id.items() if other is not client}

    def turn(self, patience: float) -> None:
        """Handle the datagrams that come within so many seconds, and the timers."""
        self.socket.settimeout(patience)
        try:
            datagram = self.socket.recv(LARGEST)
        except TimeoutError:
            self.handle_timers()
            return
        cid = datagram[6 : 6 + datagram[5]] if datagram[0] & 0x80 else datagram[1 : 1 + ID]
        client = self.by_id.get(cid)
        if client is not None:
            client.quic.receive_datagram(datagram, self.address, time.monotonic())
            self.handle_events(client)
            self.send(client)

    def handle_timers(self) -> None:
        now = time.monotonic()
        for client in tuple(self.clients):
            at = client.quic.get_timer()
            if at is not None and at <= now:
                client.quic.handle_timer(now)
                self.handle_events(client)
                self.send(client)
            if not client.took and now - client.begun > GIVE_UP:
                sys.exit("a handshake came to no end")

    def handle_events(self, client: Client) -> None:
        while (event := client.quic.next_event()) is not None:
            match event:
                case events.HandshakeCompleted():
                    client.took = time.monotonic() - client.begun
                    self.complete.append(client)
                case events.ConnectionIdIssued():
                    self.by_id[event.connection_id] = client
                case events.ConnectionTerminated():
                    sys.exit(f"the server has closed a connection: {event.reason_phrase or event.error_code}")

    def handle_until(self, end: float) -> None:
        while time.monotonic() < end:
            self.turn(0.01)


def handshakes(clients: Clients, window: int, seconds: float) -> None:
    phase("started")
    begun, cpu, took = time.monotonic(), time.process_time(), list[float]()
    while (now := time.monotonic()) < begun + seconds:
        while len(clients.clients) < window:
            clients.begin()
        clients.turn(0.05)
        while clients.complete:
            client = clients.complete.pop()
            took.append(client.took)
            clients.close(client)
    if len(took) < 2:
        sys.exit("not one handshake")
    cuts = quantiles(took, n=100)
    phase(
        "done",
        requests=len(took),
        requests_per_s=len(took) / (now - begun),
        p50_us=cuts[49] * 1e6,
        p99_us=cuts[98] * 1e6,
        own_cpu=(time.process_time() - cpu) / (now - begun),
    )


def hold(clients: Clients, count: int, window: int) -> None:
    phase("few")
    begun = 0
    while len(clients.complete) < count:
        for _ in range(min(window - (begun - len(clients.complete)), count - begun)):
            clients.begin()
            begun += 1
        clients.turn(0.05)
    clients.handle_until(time.monotonic() + QUIET)
    phase("done", held=len(clients.clients))


def forged(clients: Clients, seconds: float) -> None:
    client = QuicConnection(
        configuration=QuicConfiguration(alpn_protocols=[ALPN], is_client=True, verify_mode=ssl.CERT_NONE)
    )
    phase("started")
    client.connect(clients.address, time.monotonic())
    sent, answers = exchange(clients, client, seconds)
    if not answers:
        sys.exit("a first datagram was not answered")
    figures = {"forged_in": sent, "forged_out": sum(map(len, answers))}
    client.receive_datagram(answers[0], clients.address, time.monotonic())
    sent, answers = exchange(clients, client, seconds)
    phase("done", **figures, silent_in=sent, silent_out=sum(map(len, answers)))


def exchange(clients: Clients, client: QuicConnection, seconds: float) -> tuple[int, list[bytes]]:
    """Send the pending datagrams only. Return their bytes, and the answers within so many seconds."""
    sent = sum(clients.socket.send(datagram) for datagram, _address in client.datagrams_to_send(time.monotonic()))
    answers, end = list[bytes](), time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        clients.socket.settimeout(left)
        try:
            answers.append(clients.socket.recv(LARGEST))
        except TimeoutError:
            break
    return sent, answers


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("mode", choices=("handshakes", "hold", "forged"))
    parser.add_argument("-n", type=int, default=200, dest="connections")
    parser.add_argument("-w", type=int, default=8, dest="window")
    parser.add_argument("-s", type=float, default=2.0, dest="seconds")
    chosen = parser.parse_args()
    logging.getLogger("quic").setLevel(logging.CRITICAL)
    clients = Clients(chosen.port)
    if chosen.mode == "handshakes":
        handshakes(clients, chosen.window, chosen.seconds)
    elif chosen.mode == "hold":
        hold(clients, chosen.connections, chosen.window)
    else:
        forged(clients, chosen.seconds)


if __name__ == "__main__":
    main()
