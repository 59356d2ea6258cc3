"""The obvious TCP server: a loop over a selector that sends each line to everybody else.

It is a yardstick, not an example: it stores nothing, checks nothing, announces no joins, and buffers without limit what
a client does not read. It calls `send` for each receiver of each message. Usage: relay_server.py PORT (0 is any free
port; the port is printed)
"""

from __future__ import annotations

import selectors
import socket
import sys
from dataclasses import dataclass, field

GREETING = b"* What is your name?\n"
READ, READ_AND_WRITE = selectors.EVENT_READ, selectors.EVENT_READ | selectors.EVENT_WRITE


@dataclass(slots=True, eq=False)
class Client:
    sock: socket.socket
    name: bytes = b""
    unfinished: bytes = b""
    """The beginning of an unfinished line."""
    unsent: bytearray = field(default_factory=bytearray)
    """The bytes that the kernel did not take."""


class Relay:
    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.selector = selectors.DefaultSelector()
        self.selector.register(listener, READ)
        self.members: dict[bytes, Client] = {}

    def serve(self) -> None:
        while True:
            for key, events in self.selector.select():
                if key.data is None:
                    self.accept()
                    continue
                if events & selectors.EVENT_WRITE:
                    self.send_rest(key.data)
                if events & READ:
                    self.read(key.data)

    def accept(self) -> None:
        sock, _address = self.listener.accept()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = Client(sock)
        self.selector.register(sock, READ, client)
        self.send(client, GREETING)

    def read(self, client: Client) -> None:
        try:
            data = client.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.drop(client)
            return
        *lines, client.unfinished = (client.unfinished + data).split(b"\n")
        for line in lines:
            if client.name:
                self.tell_others(client, client.name + b": " + line + b"\n")
            else:
                self.admit(client, line)

    def admit(self, client: Client, name: bytes) -> None:
        if not name or name in self.members:
            self.send(client, b"* That name cannot be had. What is your name?\n")
            return
        client.name = name
        self.members[name] = client
        self.send(client, b"* You are " + name + b"\n")

    def tell_others(self, author: Client, message: bytes) -> None:
        for client in list(self.members.values()):
            if client is not author:
                self.send(client, message)

    def send(self, client: Client, message: bytes) -> None:
        if client.unsent:
            client.unsent += message
            return
        try:
            sent = client.sock.send(message)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.drop(client)
            return
        if sent < len(message):
            client.unsent += message[sent:]
            self.selector.modify(client.sock, READ_AND_WRITE, client)

    def send_rest(self, client: Client) -> None:
        try:
            del client.unsent[: client.sock.send(client.unsent)]
        except BlockingIOError:
            return
        except OSError:
            self.drop(client)
            return
        if not client.unsent:
            self.selector.modify(client.sock, READ, client)

    def drop(self, client: Client) -> None:
        if client.sock.fileno() < 0:
            return
        self.members.pop(client.name, None)
        self.selector.unregister(client.sock)
        client.sock.close()


def main(port: int) -> None:
    listener = socket.create_server(("127.0.0.1", port), backlog=128)
    print(f"relay on TCP port {listener.getsockname()[1]}", flush=True)
    Relay(listener).serve()


if __name__ == "__main__":
    main(int(sys.argv[1]))
