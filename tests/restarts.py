"""Restarts under load: a stand-in for systemd holds the sockets, and members talk through all doors meanwhile.

    python -m tests.restarts --restarts 50

Every text is unique. What was acknowledged has to reach everybody who stays in the group, once. Refused is whoever gets
no connection, or no answer on one that was accepted.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import count, pairwise
from pathlib import Path
from threading import Event, Thread
from urllib.parse import quote

from groupchat.core.limits import MAX_FILES_EACH
from tests.daemon import SECONDS, LineMember, UDPMember
from tests.manager import Manager, datagrams, listening

BREATH = 0.02
"""The longest pause between two texts of one talker, in seconds."""

BETWEEN = (1.0, 2.0)
"""The time between two restarts, in seconds: the page waits for one before it connects again."""

STOPPING = "* The server is stopping. What was said is kept: come back in a while."

STAYERS = ("udp", "tcp", "quic", "web")
"""The doors whose members stay in the group over a restart."""

KEY = "0123456789abcdef" * 2

_TEXT = re.compile(r"\b(?:udp|tcp|quic|web|cron|plain)-\d+\b")


@dataclass
class Door:
    """What happened to those who come by one door. `heard` has the texts of others, each with the time."""

    name: str
    acknowledged: list[str] = field(default_factory=list)
    heard: list[tuple[float, str]] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)

    def hear(self, said: str) -> None:
        self.heard += [(time.monotonic(), text) for text in _TEXT.findall(said)]

    def longest_pause(self) -> float:
        """Return the longest time between two texts, or between a request and its answer, if those are known."""
        times = [at for at, _ in self.heard]
        return max(self.pauses or [after - before for before, after in pairwise(times)], default=0)


class Load:
    """Members at all doors of the daemons of a manager. They talk until `quiet`."""

    def __init__(self, directory: Path, udp: int, tcp: int, web: int) -> None:
        self._directory = directory
        self._udp, self._tcp, self._web = udp, tcp, web
        self.doors: dict[str, Door] = {}
        self._begin, self._quiet, self._over = Event(), Event(), Event()
        self._is_open = Event()
        self._clients: list[subprocess.Popen[str]] = []
        self._threads: list[Thread] = []
        self._go("udp", self._poll)
        self._is_open.wait(SECONDS)
        self._go("tcp", self._client, f"tcp://127.0.0.1:{tcp}")
        self._go("quic", self._client, f"quic://127.0.0.1:{udp}", "--trust-new")
        self._go("cron", self._post)
        self._go("files", self._upload)
        self._go("plain", self._telnet)
        self._join_page()
        self._go("web", self._read_page)
        self._go("web", self._write_page)
        self._begin.wait(SECONDS)

    def _go(self, name: str, work: Callable[..., None], *arguments: str) -> None:
        door = self.doors.setdefault(name, Door(name))

        def run() -> None:
            try:
                work(door, *arguments)
            except Exception as error:  # it must not go unnoticed
                door.refusals.append(f"{work.__name__} ended: {error!r}")

        self._threads.append(Thread(target=run, daemon=True))
        self._threads[-1].start()

    def _texts(self, door: Door) -> Iterator[str]:
        self._begin.wait(SECONDS)
        for number in count(1):
            if self._quiet.wait(random.uniform(0, BREATH)):
                return
            yield f"{door.name}-{number}"

    # The doors

    def _poll(self, door: Door) -> None:
        with closing(UDPMember(self._udp)) as member:

            def ask(request: str) -> str:
                began = time.monotonic()
                reply = member.ask(request)
                door.pauses.append(time.monotonic() - began)
                return reply

            ask("1 udp")
            self._is_open.set()
            joined = ""
            while not all(f"{name} has joined" in joined for name in STAYERS[1:]):
                joined += ask("5")
                time.sleep(BREATH)
            self._begin.set()
            for text in self._texts(door):
                door.hear(ask(f"2 {text}"))
                door.acknowledged.append(text)
                door.hear(ask("5"))
            while not self._over.wait(BREATH):
                door.hear(ask("5"))

    def _client(self, door: Door, url: str, *options: str) -> None:
        """Talk with the real client. It says if it could not send something."""
        client = subprocess.Popen(
            [sys.executable, "-m", "groupchat", url, "--name", door.name, *options],
            env={**os.environ, "XDG_DATA_HOME": str(self._directory / "data")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._clients.append(client)
        assert client.stdin is not None
        assert client.stdout is not None
        reader = Thread(target=self._read_client, args=(door, client.stdout), daemon=True)
        reader.start()
        for text in self._texts(door):
            client.stdin.write(f"{text}\n")
            client.stdin.flush()
            door.acknowledged.append(text)  # it sends again until the server has it
        self._over.wait()
        client.stdin.close()
        client.wait(SECONDS)
        reader.join(SECONDS)

    def _read_client(self, door: Door, lines: Iterator[str]) -> None:
        for line in lines:
            if _TEXT.search(line):
                door.hear(line)
            if "not sent" in line or "may not" in line or "cannot" in line:
                door.refusals.append(line)

    def _post(self, door: Door) -> None:
        """Say something as a guest, like a script with curl: a connection for each text."""
        for text in self._texts(door):
            if self._ask(door, "POST", f"/messages?name={door.name}", text.encode()) == 200:
                door.acknowledged.append(text)

    def _upload(self, door: Door) -> None:
        for number in range(1, MAX_FILES_EACH + 1):
            if self._quiet.wait(random.uniform(0, 10 * BREATH)):
                return
            name = f"file-{number}.txt"
            if self._ask(door, "PUT", f"/files/{quote(name)}?name=files", name.encode() * 1000) == 201:
                door.acknowledged.append(name)

    def _ask(self, door: Door, method: str, path: str, body: bytes, **headers: str) -> int:
        began = time.monotonic()
        try:
            with closing(http.client.HTTPConnection("127.0.0.1", self._web, timeout=SECONDS)) as connection:
                fields = {name.replace("_", "-"): value for name, value in headers.items()}
                connection.request(method, path, body, fields)
                response = connection.getresponse()
                said = response.read()
        except (OSError, http.client.HTTPException) as error:
            door.refusals.append(f"{method} {path}: {error!r}")
            return 0
        door.pauses.append(time.monotonic() - began)
        if response.status >= 300:
            door.refusals.append(f"{method} {path}: {response.status} {said!r}")
        return response.status

    def _telnet(self, door: Door) -> None:
        """Talk over plain lines. The connection ends with the daemon, which tells; then make another one."""
        numbers = count(1)
        for visit in count(1):
            if self._quiet.is_set():
                return
            heard: list[str] = []
            began = time.monotonic()
            try:
                with closing(LineMember(self._tcp)) as member:
                    heard = member.join(f"plain{visit}")
                    door.pauses.append(time.monotonic() - began)
                    reader = Thread(target=_read_all, args=(member, heard), daemon=True)
                    reader.start()
                    with suppress(ConnectionResetError, BrokenPipeError):
                        while reader.is_alive() and not self._quiet.wait(BREATH):
                            member.send(f"plain-{next(numbers)}")
                    if self._quiet.is_set():
                        member.end()
                    reader.join(SECONDS)
            except (OSError, EOFError) as error:
                door.refusals.append(f"connecting: {error!r}")
                continue
            if not self._quiet.is_set() and STOPPING not in heard:
                door.refusals.append(f"it was not told: {heard[-2:]}")

    def _join_page(self) -> None:
        door = self.doors.setdefault("web", Door("web"))
        assert self._ask(door, "POST", "/name", b"web", Authorization=f"Bearer {KEY}") == 200, door.refusals
        door.pauses.clear()

    def _read_page(self, door: Door) -> None:
        """Read the events like a browser: after a break again from the last one, a second later."""
        last = ""
        while not self._over.is_set():
            headers = {"Authorization": f"Bearer {KEY}"} | ({"Last-Event-ID": last} if last else {})
            connection = http.client.HTTPConnection("127.0.0.1", self._web, timeout=SECONDS)
            with closing(connection), suppress(OSError, http.client.HTTPException):
                connection.request("GET", "/events" if last else "/events?after=0", headers=headers)
                response = connection.getresponse()
                if response.status != 200:
                    door.refusals.append(f"GET /events: {response.status}")
                while line := response.readline().decode():
                    if line.startswith("id: "):
                        last = line[4:].strip()
                    elif line.startswith("data: ") and (found := json.loads(line[6:])).get("name") != "web":
                        door.hear(found.get("text", ""))
                    if self._over.is_set():
                        return
            self._over.wait(1.0)

    def _write_page(self, door: Door) -> None:
        """Say something with an id, and repeat it like the page if there is no answer."""
        for number, text in enumerate(self._texts(door), 1):
            body = json.dumps({"text": text, "id": str(number)}).encode()
            headers = {"Authorization": f"Bearer {KEY}", "Content_Type": "application/json"}
            while self._ask(door, "POST", "/messages", body, **headers) != 200:
                time.sleep(BREATH)
            door.acknowledged.append(text)
        door.pauses.clear()  # those between two texts count

    # The end

    def finish(self) -> Result:
        """Let all fall silent, wait until everybody has heard everything, and count."""
        self._quiet.set()
        end = time.monotonic() + 20
        while time.monotonic() < end and any(self._missing(door) for door in self.doors.values()):
            time.sleep(0.1)
        self._over.set()
        for thread in self._threads:
            thread.join(SECONDS)
        shared = self._directory / "shared"
        lost = sum(len(self._missing(door)) for door in self.doors.values())
        lost += sum(not (shared / name).exists() for name in self.doors["files"].acknowledged)
        doubled = [
            f"{door.name} heard {text} {times} times"
            for door in self.doors.values()
            for text, times in Counter(text for _, text in door.heard).items()
            if times > 1
        ]
        return Result(self.doors, lost, doubled)

    def _missing(self, door: Door) -> set[str]:
        """Return what somebody of this door who stays in the group should have heard."""
        others = [other for other in self.doors.values() if other not in (door, self.doors["files"])]
        heard = {text for _, text in door.heard}
        return {text for other in others for text in other.acknowledged} - heard if door.name in STAYERS else set()

    def close(self) -> None:
        self._quiet.set()
        self._over.set()
        for client in self._clients:
            client.kill()
            client.wait()


def _read_all(member: LineMember, heard: list[str]) -> None:
    with suppress(OSError, ValueError, EOFError):
        while True:
            heard.append(member.receive())


@dataclass
class Result:
    """What came of it. `lost` counts texts by whoever missed them, and files."""

    doors: dict[str, Door]
    lost: int
    doubled: list[str]
    stops: list[float] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)

    @property
    def refusals(self) -> list[str]:
        return [f"{door.name}: {refusal}" for door in self.doors.values() for refusal in door.refusals]

    def __str__(self) -> str:
        acknowledged = sum(len(door.acknowledged) for door in self.doors.values())
        pauses = ", ".join(f"{name} {door.longest_pause():.2f}" for name, door in self.doors.items())
        return (
            f"{len(self.stops)} restarts, {acknowledged} acknowledged, {len(self.refusals)} refused, {self.lost} lost, "
            f"{len(self.doubled)} doubled\nlongest pauses in seconds: {pauses}\n"
            f"longest stop {max(self.stops, default=0):.2f} s, longest start {max(self.starts, default=0):.2f} s"
        )


def restart(restarts: int, say: Callable[[str], None] = lambda line: None) -> Result:
    """Restart a daemon so many times under load."""
    passed = [("udp", datagrams()), ("tcp", listening()), ("web", listening())]
    options = ["--quic", "--files", "shared", "--rate", "0", "--port", "0"]
    manager = Manager(passed, *options)
    with closing(manager):
        manager.start()
        manager.wait_until_ready()
        load = Load(Path(manager.directory), *(each.getsockname()[1] for _, each in passed))
        with closing(load):
            stops, starts = [], []
            for number in range(restarts):
                time.sleep(random.uniform(*BETWEEN))
                began = time.monotonic()
                manager.stop()
                stops.append(time.monotonic() - began)
                manager.ear.told()
                manager.start()
                manager.wait_until_ready()
                starts.append(time.monotonic() - began - stops[-1])
                if number % 10 == 9:
                    say(f"{number + 1} restarts")
            time.sleep(1.0)
            result = load.finish()
            result.stops, result.starts = stops, starts
            if "Traceback" in manager.output():
                result.doors["udp"].refusals.append(manager.output()[-5000:])
            return result


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.restarts", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--restarts", type=int, default=50, help="number of restarts (%(default)s)")
    chosen = parser.parse_args(arguments)
    result = restart(chosen.restarts, lambda line: print(line, flush=True))
    print(*result.refusals[:30], *result.doubled[:10], result, sep="\n")
    if result.refusals or result.lost or result.doubled:
        sys.exit(1)


if __name__ == "__main__":
    main()
