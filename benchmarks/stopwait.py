"""Stop and wait, as in TFTP: a block of 1,024 bytes is repeated until it is acknowledged; then comes the next.

It is a yardstick: correct over a network that loses, duplicates and reorders, and as slow as one block per round trip.
It serves one client at a time.

    stopwait.py serve FILE           prints the port
    stopwait.py get PORT COUNT       writes the first COUNT bytes of it to standard output

    -> COUNT                         in decimal, repeated until the first block comes
    <- number, block                 4 bytes, from 1; the last block is shorter than the others, and may be empty
    -> number                        4 bytes: the acknowledgement
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

BLOCK = 1024
TIMEOUT = 0.1
"""Seconds without an answer after which a datagram is repeated."""
TRIES = 30

Address = tuple[str, int]


def blocks(path: Path, count: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        for left in range(count, -1, -BLOCK):
            yield file.read(min(left, BLOCK))


def serve(path: Path) -> None:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    print(f"stop and wait on UDP port {server.getsockname()[1]}", flush=True)
    while True:
        server.settimeout(None)
        request, client = server.recvfrom(100)
        if request.isdigit():
            server.settimeout(TIMEOUT)
            give(server, client, blocks(path, int(request)))


def give(server: socket.socket, client: Address, data: Iterator[bytes]) -> None:
    for number, block in enumerate(data, 1):
        tag = number.to_bytes(4, "big")
        for _ in range(TRIES):
            server.sendto(tag + block, client)
            if is_acknowledged(server, client, tag):
                break
        else:
            return  # the client is gone: it has everything, and its last acknowledgement was lost


def is_acknowledged(server: socket.socket, client: Address, tag: bytes) -> bool:
    """Return True if the block is acknowledged in time. Acknowledgements of earlier blocks are ignored."""
    try:
        while server.recvfrom(100) != (tag, client):
            pass
    except TimeoutError:
        return False
    return True


def get(port: int, count: int) -> None:
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.connect(("127.0.0.1", port))
    datagram = first_answer(client, b"%d" % count)
    number, length = 1, BLOCK
    while True:
        client.send(datagram[:4])
        if int.from_bytes(datagram[:4], "big") == number:
            length = sys.stdout.buffer.write(datagram[4:])
            number += 1
        if length < BLOCK:
            break
        datagram = client.recv(BLOCK + 4)
    sys.stdout.buffer.flush()


def first_answer(client: socket.socket, request: bytes) -> bytes:
    client.settimeout(TIMEOUT)
    for _ in range(TRIES):
        client.send(request)
        try:
            datagram = client.recv(BLOCK + 4)
        except TimeoutError:
            continue
        client.settimeout(TRIES * TIMEOUT)
        return datagram
    sys.exit("no answer")


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(Path(sys.argv[2]))
    else:
        get(int(sys.argv[2]), int(sys.argv[3]))
