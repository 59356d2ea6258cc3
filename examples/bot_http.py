"""A bot over HTTP, which answers "!time". Run: python3 bot_http.py http://HOST:8080 NAME. Ctrl-C ends it.

It misses nothing while the server or the network is away, and answers each line once: the number of a line is also the
id of its answer, and what has the same id is done once, however often it is sent.
"""

import json
import secrets
import signal
import sys
import time
from contextlib import suppress
from http.client import HTTPException, HTTPResponse
from urllib.error import HTTPError
from urllib.request import Request, urlopen

server, name = sys.argv[1:]


class Bot:
    def __init__(self) -> None:
        self.key = secrets.token_hex(16)  # whoever has the key is this member
        self.last = -1  # the number of the last line that was handled

    def call(self, path: str, body: object = None) -> HTTPResponse:
        """Send a request, which is a POST if it has a body, and return the answer. Raises OSError."""
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        # Events come at least every 15 seconds, if only a comment: a longer silence is a broken connection.
        return urlopen(Request(server + path, data, headers), timeout=40)  # noqa: S310 - the user chooses the URL

    def run(self) -> None:
        """Join, which may be repeated, and handle lines until the connection ends."""
        with self.call("/name", {"name": name}) as answer:
            head = json.load(answer)["head"]
        if self.last < 0:
            self.last = head
        with self.call(f"/events?after={self.last}") as events:
            print("listening", flush=True)
            for field in events:
                if field.startswith(b"data: {"):
                    line = json.loads(field.removeprefix(b"data: "))
                    self.handle(line)
                    self.last = line["number"]

    def handle(self, line: dict) -> None:
        if line["kind"] == "said" and line["name"] != name and line["text"] == "!time":
            self.call("/messages", {"text": time.strftime("It is %H:%M."), "id": line["number"]}).close()


bot = Bot()
signal.signal(signal.SIGTERM, signal.default_int_handler)  # end like Ctrl-C
with suppress(KeyboardInterrupt):
    while True:
        try:
            bot.run()
        except (OSError, HTTPException) as error:
            if isinstance(error, HTTPError) and error.code in (400, 401, 409):
                sys.exit(f"refused: {error.read().decode()}")
            print(f"{error}: trying again", file=sys.stderr)
        time.sleep(2)
with suppress(OSError):
    bot.call("/leave", "").close()
