"""A numbered session whose seat is kept between runs: against a scripted server, and against the real one."""

from __future__ import annotations

import errno
import os
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

from twisted.internet.error import ConnectionRefusedError
from twisted.trial.unittest import SynchronousTestCase

from groupchat.client.kept_seats import IDS_BITS, KeptSeats
from groupchat.client.numbered import BUSY_SECONDS, NumberedSession
from groupchat.client.own_seat import OwnSeat
from groupchat.client.trust import UntrustedError
from groupchat.core.commands import Rename, Say
from tests.chatting import FakeEndpoint, Peer, Witness
from tests.lobby import Lobby
from tests.test_client_cuts import Wires
from tests.test_client_numbered import ASKS_NAME, NO_SESSION, NumberedCase

SECOND = 1 << IDS_BITS
"""The ids of the second run are above this one."""

JOINED = ("joined", "Zoe", ["Welcome.", "Here now: Bob."])


class KeptCase(NumberedCase):
    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.seats = KeptSeats(Path(folder.name) / "seats", "tcp://chat.example:12345")
        self.begin()

    def begin(self, *, new_seat: bool = False) -> None:
        """Begin another run."""
        self.session.stop()
        self.endpoint, self.witness = FakeEndpoint(), Witness()
        seat = OwnSeat(self.seats, self.witness.not_kept, new_seat=new_seat)
        self.session = NumberedSession(self.clock, self.endpoint, self.witness, self.passwords.append, seat)

    def run_before(self, seen: int = 7) -> None:
        """Have an earlier run that ended after this line, and begin another one."""
        self.enter(seen)
        self.session.suspend()
        self.assertEqual(self.witness.news(), [("ended", "")])
        self.begin()

    def introduced(self, line: str, name: str = "Zoe") -> Peer:
        """Join. Return the server's side, which was sent this line."""
        self.session.join(name)
        peer = self.greet()
        self.assertEqual(peer.sent(), [line])
        return peer

    def files(self) -> list[str]:
        return os.listdir(self.seats.directory)


class NextRunTests(KeptCase):
    def test_it_resumes_and_shows_what_was_missed(self) -> None:
        self.run_before(7)
        peer = self.introduced(f"/resume {self.key} 7")
        peer.send("session 7 1 Zoe", "8 Bob: hi")
        self.assertEqual(self.witness.news(), [JOINED, ("back", 1)])
        self.assertEqual(self.witness.lines, [(8, "Bob: hi")])

    def test_the_last_lines_of_the_greeting_are_not_shown_twice(self) -> None:
        lines = ["* Welcome.", "* Said last:", "*   Bob: hi", "* Here now: Bob.", ASKS_NAME]
        for waiting in (1, 0):
            self.run_before(7)
            self.session.join("Zoe")
            peer = self.endpoint.accept()
            peer.send(*lines, f"session 7 {waiting} Zoe")
            greeting = ["Welcome.", *([] if waiting else ["Said last:", "  Bob: hi"]), "Here now: Bob."]
            self.assertEqual(self.witness.news(), [("joined", "Zoe", greeting), ("back", waiting)])
            self.session.leave()
            peer.send(f"ok {SECOND + 1}")
            self.begin()

    def test_ids_are_never_used_in_two_runs(self) -> None:
        self.run_before()
        self.ask("one", "two")
        peer = self.introduced(f"/resume {self.key} 7")
        peer.send("session 7 0 Zoe")
        self.assertEqual(peer.sent(), [f"{SECOND + 1} one", f"{SECOND + 2} two"])

    def test_a_seat_that_ended_is_joined_again_with_its_key(self) -> None:
        self.run_before(7)
        peer = self.introduced(f"/resume {self.key} 7")
        peer.send(NO_SESSION)
        self.assertEqual(peer.sent(), [f"/numbered {self.key} Zoe"])
        peer.send("session 5 3 Zoe")
        peer = self.greet()
        self.assertEqual(peer.sent(), [f"/resume {self.key} 7"])
        peer.send("session 7 1 Zoe", "9 Bob: hi")
        self.assertEqual(self.witness.news(), [JOINED, ("regained", "Zoe"), ("back", 1)])
        self.assertEqual(self.witness.lines, [(9, "Bob: hi")])

    def test_a_server_that_goes_before_the_place_is_regained(self) -> None:
        self.run_before(7)
        self.introduced(f"/resume {self.key} 7").send(NO_SESSION, "session 5 3 Zoe")
        self.endpoint.refuse(ConnectionRefusedError())
        self.assertEqual(self.witness.news(), [])
        peer = self.call_again()
        self.assertEqual(peer.sent(), [f"/resume {self.key} 7"])

    def test_a_key_that_the_server_forgot_joins_and_is_told_so(self) -> None:
        self.run_before(7)
        peer = self.introduced(f"/resume {self.key} 7")
        peer.send(NO_SESSION, "session 90 0 Zoe")
        self.greet().send("session 90 0 Zoe")
        self.assertEqual(self.witness.news(), [JOINED, ("rejoined", "Zoe")])

    def test_a_name_taken_meanwhile_is_the_usual_question(self) -> None:
        self.run_before(7)
        peer = self.introduced(f"/resume {self.key} 7")
        peer.send(NO_SESSION, "no 0 The name Zoe is in use.")
        self.assertEqual(self.witness.news(), [("not_joined", "The name Zoe is in use.")])
        peer.sent()
        self.session.join("Yan")
        [line] = peer.sent()
        key = line.split(" ")[1]
        self.assertNotEqual(key, self.key)
        peer.send("session 90 0 Yan")
        self.session.suspend()
        self.begin()
        self.introduced(f"/resume {key} 90", "Yan")

    def test_another_name_in_the_same_run_has_another_seat(self) -> None:
        self.lose(self.enter(7))
        peer = self.call_again()
        peer.sent()
        peer.send(NO_SESSION, "no 0 The name Zoe is in use.")
        self.session.join("Yan")
        self.assertNotIn(self.key, peer.sent()[-1])
        self.witness.news()
        peer.send("session 90 0 Yan")
        self.assertEqual(self.witness.news(), [("rejoined", "Yan")])

    def test_a_question_of_trust_does_not_cost_the_seat(self) -> None:
        self.run_before(7)
        self.session.join("Zoe")
        self.endpoint.refuse(UntrustedError("It is new."))
        self.assertEqual(self.witness.news(), [("untrusted", "It is new.")])
        peer = self.introduced(f"/resume {self.key} 7")  # it is trusted by now
        peer.send("session 7 0 Zoe")
        self.assertTrue(self.session.keeps_seat)
        self.session.suspend()
        self.begin()
        self.introduced(f"/resume {self.key} 7")

    def test_a_refused_new_seat_leaves_no_file(self) -> None:
        self.session.join("Bob")
        self.greet().send("no 0 The name Bob is in use.")
        self.session.join("Zoe")
        self.assertEqual(len(self.files()), 1)
        self.session.leave()
        self.session.stop()
        self.assertEqual(self.files(), [])

    def test_a_run_killed_while_it_joined_goes_on(self) -> None:
        self.session.join("Zoe")
        [line] = self.greet().sent()
        with patch("os.listdir", return_value=[]), patch("pathlib.Path.unlink"):
            self.begin()  # as if the earlier run had done nothing more
        peer = self.introduced(line)
        peer.send("session 3 1 Zoe", "4 Bob: hi")
        self.assertEqual(self.witness.news(), [JOINED])
        self.assertEqual(self.witness.lines, [(4, "Bob: hi")])

    def test_lines_are_noted_once_they_are_shown(self) -> None:
        peer = self.enter(7)
        [file] = self.seats.directory.iterdir()
        self.clock.advance(0)
        peer.send("8 Bob: one", "9 Bob: two")
        self.assertTrue(file.read_text().endswith("0007\n"))  # a kill may come before they are on the screen
        self.clock.advance(0)
        self.assertTrue(file.read_text().endswith("0009\n"))
        peer.send("10 Bob: three")
        self.begin()
        self.introduced(f"/resume {self.key} 10")

    def test_a_renamed_member_is_found_under_both_names(self) -> None:
        peer = self.enter(7)
        self.session.ask(Rename("Yan"))
        peer.send("ok 1")
        for name in ("Yan", "Zoe"):
            self.begin()
            self.introduced(f"/resume {self.key} 7", name)

    def test_nobody_there_ends_it_and_keeps_the_seat(self) -> None:
        self.run_before(7)
        self.session.join("Zoe")
        self.endpoint.refuse(ConnectionRefusedError())
        self.assertEqual(self.witness.news(), [("ended", "nothing is listening there")])
        self.begin()
        self.introduced(f"/resume {self.key} 7")

    def test_a_second_run_at_once_has_a_new_seat(self) -> None:
        self.enter(7)
        first, key = self.session, self.key
        self.session = NumberedSession(self.clock, self.endpoint, self.witness, self.passwords.append)
        self.begin()
        self.session.join("Zoe")
        self.assertEqual([told[0] for told in self.witness.news()], ["not_kept"])
        [line] = self.greet().sent()
        self.assertRegex(line, r"\A/numbered [0-9a-f]{32} Zoe\Z")
        self.assertNotIn(key, line)
        self.assertFalse(self.session.keeps_seat)
        first.stop()

    def test_a_disk_that_fills_up_is_told_of_once(self) -> None:
        peer = self.enter(7)
        with patch("os.pwrite", side_effect=OSError(errno.ENOSPC, "No space left on device")):
            peer.send("8 Bob: one")
            peer.send("9 Bob: two")
            self.clock.advance(0)
        told = [("not_kept", "your seat cannot be kept any more: No space left on device")]
        self.assertEqual(self.witness.news(), told)
        self.assertEqual((self.session.keeps_seat, self.files()), (False, []))
        self.assertEqual(len(self.witness.lines), 2)
        self.lose(peer)
        self.resume(9)


class EndTests(KeptCase):
    def test_suspending_waits_for_all_answers(self) -> None:
        peer = self.enter()
        [one] = self.ask("one")
        self.session.suspend()
        self.assertEqual(peer.sent(), ["1 one"])
        peer.send("ok 1")
        self.assertEqual(self.witness.news(), [("answered", one, []), ("ended", "")])
        self.assertEqual(peer.sent(), [])
        self.assertTrue(peer.is_closed)

    def test_suspending_waits_for_a_connection_if_it_must(self) -> None:
        peer = self.enter()
        [one] = self.ask("one")
        self.lose(peer)
        self.session.suspend()
        peer = self.resume(7)
        self.assertEqual(peer.sent(), ["1 one"])
        peer.send("ok 1")
        self.assertEqual(self.witness.news(), [("answered", one, []), ("ended", "")])

    def test_suspending_without_a_connection_ends_at_once(self) -> None:
        self.lose(self.enter())
        self.session.suspend()
        self.assertEqual(self.witness.news(), [("ended", "")])

    def test_leaving_removes_the_file(self) -> None:
        peer = self.enter()
        self.assertEqual(len(self.files()), 1)
        self.session.leave()
        peer.send("ok 1")
        self.assertEqual((self.witness.news(), self.files()), ([("ended", "")], []))

    def test_a_quit_whose_answer_was_lost_removes_the_file(self) -> None:
        peer = self.enter()
        self.session.leave()
        self.lose(peer)
        self.call_again().send(NO_SESSION)
        self.assertEqual((self.witness.news(), self.files()), ([("ended", "")], []))

    def test_leaving_before_it_is_connected_gives_the_seat_up(self) -> None:
        self.run_before(7)
        self.session.join("Zoe")
        self.session.leave()
        peer = self.greet()
        peer.send("session 7 0 Zoe")
        self.assertEqual(peer.sent()[-1], f"{SECOND + 1} /quit")
        peer.send(f"ok {SECOND + 1}")
        self.assertEqual(self.files(), [])

    def test_a_quit_that_did_not_arrive_keeps_the_seat(self) -> None:
        self.lose(self.enter())
        self.session.leave()
        self.session.stop()
        self.begin()
        self.introduced(f"/resume {self.key} 7")

    def test_removed_by_an_operator_removes_the_file(self) -> None:
        def in_conversation() -> Peer:
            return self.enter()

        def at_the_next_start() -> Peer:
            self.run_before()
            return self.introduced(f"/resume {self.key} 7")

        whens: list[Callable[[], Peer]] = [in_conversation, at_the_next_start]
        for when in whens:
            for last in (["* You were removed: spam"], []):
                peer = when()
                peer.send("no 0 removed", *last)
                peer.lose()
                self.assertEqual([told[0] for told in self.witness.news()], ["ended"])
                self.assertEqual(self.files(), [])
                self.begin()


class NewSeatTests(KeptCase):
    def setUp(self) -> None:
        super().setUp()
        self.run_before(7)
        self.begin(new_seat=True)
        self.ask("early")

    def check_new(self, peer: Peer) -> None:
        """Check that the client takes a new seat."""
        [line] = peer.sent()
        self.assertRegex(line, r"\A/numbered [0-9a-f]{32} Zoe\Z")
        self.assertNotIn(self.key, line)
        peer.send("session 20 0 Zoe")
        self.assertEqual(self.witness.news(), [JOINED])
        self.assertEqual(peer.sent(), ["1 early"])
        self.session.suspend()
        peer.send("ok 1")
        self.begin()
        self.introduced(f"/resume {line.split(' ')[1]} 20")

    def test_the_held_seat_is_left_first(self) -> None:
        peer = self.introduced(f"/resume {self.key} 7")
        peer.send("session 7 3 Zoe", "8 Bob: missed")
        self.assertEqual(peer.sent(), [f"{SECOND} /quit"])
        peer.send("9 Bob: missed", f"ok {SECOND}")
        self.check_new(self.greet())
        self.assertEqual(self.witness.lines, [])

    def test_a_reserved_seat_is_joined_and_left_first(self) -> None:
        peer = self.introduced(f"/resume {self.key} 7")
        peer.send(NO_SESSION)
        self.assertEqual(peer.sent(), [f"/numbered {self.key} Zoe"])
        peer.send("session 7 3 Zoe")
        self.assertEqual(peer.sent(), [f"{SECOND} /quit"])
        peer.send(f"ok {SECOND}")
        self.check_new(self.greet())

    def test_a_seat_that_the_server_does_not_know_is_forgotten(self) -> None:
        peer = self.introduced(f"/resume {self.key} 7")
        peer.send(NO_SESSION)
        peer.sent()
        peer.send("no 0 The name Zoe is in use.")
        self.check_new(peer)

    def test_a_busy_server_is_asked_again(self) -> None:
        peer = self.introduced(f"/resume {self.key} 7")
        peer.send("session 7 3 Zoe", f"busy {SECOND} Not now.")
        self.clock.advance(BUSY_SECONDS)
        peer = self.greet()
        self.assertEqual(peer.sent(), [f"/resume {self.key} 7"])
        peer.send("session 7 3 Zoe", f"ok {SECOND}")
        self.check_new(self.greet())

    def test_a_lost_answer_is_asked_for_again(self) -> None:
        peer = self.introduced(f"/resume {self.key} 7")
        peer.send("session 7 3 Zoe")
        peer.lose()
        peer = self.call_again()
        peer.sent()
        peer.send(NO_SESSION, "session 12 0 Zoe", f"ok {SECOND}")
        self.check_new(self.greet())

    def test_without_a_kept_seat_it_is_a_plain_join(self) -> None:
        self.seats.take("Zoe")[0].close(forget=True)
        self.session.join("Zoe")
        self.check_new(self.greet())


class RealServerTests(SynchronousTestCase):
    """Runs of clients against the real server, over connections that break, in which seats are held or end."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.seats = KeptSeats(Path(folder.name) / "seats", "tcp://chat.example:12345")
        self.told: list[str] = []

    def begin(self, name: str = "Zoe") -> None:
        """Begin a run of the client."""
        self.wires = Wires(self.lobby, name, self.chance, OwnSeat(self.seats, self.told.append))
        self.settle()

    def settle(self) -> None:
        """Carry bytes until there are none on the way."""
        quiet = 0
        while quiet < 30:
            quiet = 0 if self.wires.carry() else quiet + 1
            self.lobby.clock.advance(0.1)

    def test_a_copy_of_the_seat_ends_the_client_that_had_it(self) -> None:
        self.lobby, self.chance = Lobby(), random.Random(1)
        self.lobby.ask(1, "1 Bob")
        self.begin()
        first = self.wires
        [file] = self.seats.directory.iterdir()
        copy = self.seats.directory.parent / "copy"
        copy.mkdir()
        (copy / file.name).write_bytes(file.read_bytes())
        self.seats = KeptSeats(copy, "tcp://chat.example:12345")
        self.begin()
        while first.carry():
            self.lobby.clock.advance(0.1)
        self.assertEqual(first.witness.told[-1], ("ended", "another client goes on with a copy of your seat"))
        self.assertEqual(first.witness.lines, [])
        self.assertEqual([told[0] for told in self.wires.witness.told], ["joined", "back"])
        self.wires.session.stop()

    def test_over_runs_each_line_and_text_is_there_once(self) -> None:
        ends = {"back": 0, "regained": 0}
        for seed in range(40):
            self.setUp()
            self.chance = random.Random(seed)
            self.lobby = Lobby(hold=60)
            self.lobby.ask(1, "1 Bob")
            heard: list[str] = []
            said: list[str] = []
            for run in range(6):
                self.begin()
                for turn in range(8):
                    said.append(f"{run}.{turn}")
                    self.wires.session.ask(Say(said[-1]))
                    self.lobby.ask(1, f"2 bob {run}.{turn}")
                    for _ in range(self.chance.randrange(20)):
                        self.wires.step()
                        self.lobby.clock.advance(0.05)
                self.settle()
                told = [told[0] for told in self.wires.witness.told]
                self.assertEqual(told.count("answered"), 8, (seed, run, self.wires.witness.told))
                for _ in range(self.chance.randrange(3)):
                    self.lobby.ask(1, f"2 bob {run} at the end")
                    self.wires.step()
                self.end()
                heard += self.wires.witness.heard_lines()
                for kind in ends:
                    ends[kind] += told.count(kind)
                self.assertNotIn("rejoined", told)
                for _ in range(self.chance.randrange(3)):
                    self.lobby.ask(1, f"2 bob after {run}")
                self.lobby.pass_time(self.chance.choice([1, 70, 4000]))
                self.lobby.ask(1, "5")
            self.begin()
            heard += self.wires.witness.heard_lines()
            self.wires.session.stop()
            self.check(seed, heard, said)
            self.assertEqual(self.told, [])
        self.assertGreater(min(ends.values()), 20, ends)

    def end(self) -> None:
        """End the run: by Ctrl-D, or with a connection that breaks later on the server's side."""
        if self.chance.random() < 0.5:
            self.wires.session.suspend()
            self.settle()
        else:
            self.wires.session.stop()
            self.wires.cut(noticed=self.chance.random() < 0.5)
        self.wires.notice()

    def check(self, seed: int, heard: list[str], said: list[str]) -> None:
        history = self.lobby.service.group.history
        log = [line.decode() for _, line in history.last(10_000, 0, 10**9)]
        self.assertEqual([line for line in heard if line.startswith("Bob: ")], self.by("Bob", log), seed)
        self.assertEqual(self.by("Zoe", log), [f"Zoe: {text}" for text in said], seed)

    def by(self, name: str, log: list[str]) -> list[str]:
        return [line for line in log if line.startswith(f"{name}: ")]
