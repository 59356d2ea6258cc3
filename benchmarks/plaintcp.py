"""The simplest transfer of a file over TCP, as a yardstick: one client at a time, unencrypted, without names.

plaintcp.py serve FILE           prints the port
plaintcp.py get PORT COUNT       writes the first COUNT bytes of it to standard output
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

CHUNK = 65536


def serve(path: Path) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"plain TCP port {listener.getsockname()[1]}", flush=True)
    while True:
        client, _address = listener.accept()
        with client, path.open("rb") as file:
            left = int(client.makefile().readline())
            while data := file.read(min(CHUNK, left)):
                client.sendall(data)
                left -= len(data)


def get(port: int, count: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"%d\n" % count)
        while data := client.recv(CHUNK):
            sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(Path(sys.argv[2]))
    else:
        get(int(sys.argv[2]), int(sys.argv[3]))
