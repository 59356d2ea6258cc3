"""Chat over the five messages. Run: python3 five.py HOST PORT NAME. Then type; the end of input leaves."""

import select
import socket
import sys

host, port, name = sys.argv[1:]
family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
server = socket.socket(family, kind)
server.settimeout(2)
server.connect(address)


def ask(request: str) -> str:
    """Print the reply and return it. A join or a poll may be sent again without harm; anything else is sent once."""
    for _ in range(5 if request[0] in "15" else 1):
        server.send(request.encode())
        try:
            reply = server.recv(65_535).decode()
        except TimeoutError:
            continue
        if reply:
            print(reply, flush=True)
        return reply
    sys.exit("no reply")


if ask(f"1 {name}") == "Illegal message":
    sys.exit("this name cannot be used")
with open(0, "rb", buffering=0) as typed:  # not buffered, so that select() sees every line that is not read yet
    while True:
        line = "\n"
        if select.select([typed], [], [], 1)[0]:
            line = typed.readline().decode()
        if not line:  # the end of input
            break
        ask(f"2 {line.rstrip()}" if line.strip() else "5")
ask("4")
