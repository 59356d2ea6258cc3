"""A bot in a numbered session, which answers "!time". Run: python3 bot_session.py HOST PORT NAME. Ctrl-C ends it.

It misses nothing and says nothing twice, even if the connection breaks or the server is restarted: it resumes after the
last number that it saw, and sends again, with the same id, what was not confirmed. If it is away for longer than the
server holds its session (five minutes), it joins again.
"""

import secrets
import signal
import socket
import sys
import time
from contextlib import suppress

host, port, name = sys.argv[1:]


def number(line: str) -> int:
    """Return the number that a line begins with, -1 if it begins with none. No number has more than 19 digits."""
    word = line.split(" ", 1)[0]
    return int(word) if word.isascii() and word.isdigit() and len(word) <= 19 else -1


class Bot:
    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Begin a new session: whoever has the key is this member."""
        self.key = secrets.token_hex(16)
        self.last = -1  # the number of the last line that was seen; there is no session yet
        self.next_id = 1
        self.unconfirmed: dict[int, str] = {}

    def say(self, text: str) -> None:
        self.unconfirmed[self.next_id] = text
        self.next_id += 1
        self.send(f"{self.next_id - 1} {text}")

    def send(self, line: str) -> None:
        self.connection.sendall(f"{line}\n".encode())

    def run(self) -> None:
        """Join or resume, and handle lines until the connection ends."""
        with socket.create_connection((host, int(port)), timeout=20) as self.connection:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self.send(f"/numbered {self.key} {name}" if self.last < 0 else f"/resume {self.key} {self.last}")
            self.connection.settimeout(None)
            with self.connection.makefile(encoding="utf-8", newline="\n") as lines:
                try:
                    for line in lines:
                        if line.endswith("\n"):  # without it, the line is not complete
                            self.handle(*line.rstrip("\r\n").split(" ", 1))
                except KeyboardInterrupt:
                    with suppress(OSError):
                        self.leave()
                    raise

    def leave(self) -> None:
        self.say("/quit")
        self.connection.settimeout(5)
        while self.connection.recv(4096):  # until the server has closed the connection
            pass

    def began(self, last: int) -> None:
        if last < self.last:
            print("the server began anew: lines may be missing", file=sys.stderr)
        self.last = last

    def handle(self, word: str, rest: str = "") -> None:
        if word == "session":
            self.began(number(rest))
            for client_id, text in self.unconfirmed.items():
                self.send(f"{client_id} {text}")
            print("listening", flush=True)
        elif word == "no" and rest.startswith("0 "):
            if self.last < 0:
                sys.exit(f"refused: {rest}")
            self.begin()  # the server does not hold the session any more
            self.connection.shutdown(socket.SHUT_RDWR)
        elif word in ("ok", "no"):
            self.unconfirmed.pop(number(rest), None)
        elif word == "busy":
            time.sleep(1)
            if (client_id := number(rest)) in self.unconfirmed:
                self.send(f"{client_id} {self.unconfirmed[client_id]}")
        elif number(word) >= 0:
            self.last = number(word)
            author, _, text = rest.partition(": ")
            if text == "!time" and not author.endswith(" (private)"):
                self.say(time.strftime("It is %H:%M."))


bot = Bot()
signal.signal(signal.SIGTERM, signal.default_int_handler)  # end like Ctrl-C
with suppress(KeyboardInterrupt):
    while True:
        try:
            bot.run()
        except OSError as error:
            print(f"{error}: trying again", file=sys.stderr)
        time.sleep(2)
