"""A session over the five messages: with a scripted server, and with the real one over a bad network."""

from __future__ import annotations

import random

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from groupchat.client.commands import SessionCommand
from groupchat.client.conversation import DatagramSender
from groupchat.client.polled import (
    AGAIN_SECONDS,
    LOST_SEAT,
    REFUSED_JOIN,
    REFUSED_NAME,
    REFUSED_TEXT,
    SLOW_SECONDS,
    SLOW_TRIES,
    PolledSession,
)
from groupchat.core.commands import Poll, Rename, Say
from tests.chatting import Witness
from tests.node import Node
from tests.test_client_conversation import MemorySender

POLL_SECONDS = 3.0


class PolledCase(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.sender = MemorySender()
        self.witness = Witness()
        self.session = PolledSession(self.clock, self.sender, self.witness, POLL_SECONDS)

    def sent(self) -> list[str]:
        sent, self.sender.sent = self.sender.sent, []
        return [request.decode() for request in sent]

    def reply(self, *replies: str) -> None:
        for reply in replies:
            self.session.conversation.received(reply.encode())

    def exchange(self, request: str, reply: str) -> None:
        """Check that only this request was sent, and answer it."""
        self.assertEqual(self.sent(), [request])
        self.reply(reply)

    def enter(self) -> None:
        """Join as Zoe, with no lines waiting."""
        self.session.join("Zoe")
        self.exchange("1 Zoe", "Bob")
        self.assertEqual(self.witness.news(), [("joined", "Zoe", ["Here now: Bob."])])
        self.exchange("5", "")
        self.assertEqual(self.sent(), [])

    def say(self, *texts: str) -> list[SessionCommand]:
        asks: list[SessionCommand] = [Say(text) for text in texts]
        for ask in asks:
            self.session.ask(ask)
        return asks


class ComingInTest(PolledCase):
    def test_the_members_are_the_greeting(self) -> None:
        for reply, greeting in (("Bob, Al", "Here now: Bob, Al."), ("", "Nobody else is here yet.")):
            self.setUp()
            self.session.join("Zoe")
            self.exchange("1 Zoe", reply)
            self.assertEqual(self.witness.news(), [("joined", "Zoe", [greeting])])

    def test_after_a_refused_name_another_is_accepted(self) -> None:
        self.session.join("Bob")
        self.exchange("1 Bob", "Illegal message")
        told = f"The server refuses Bob: {REFUSED_JOIN}."
        self.assertEqual((self.witness.news(), self.sent()), ([("not_joined", told)], []))
        self.session.join("Zoe")
        self.exchange("1 Zoe", "Bob")
        self.assertEqual(self.witness.news(), [("joined", "Zoe", ["Here now: Bob."])])

    def test_a_join_is_repeated_until_it_is_answered(self) -> None:
        self.session.join("Zoe")
        for pause in (2, 4, 8, 16, 30, 30):
            self.assertEqual(self.sent(), ["1 Zoe"])
            self.clock.advance(pause)
        self.assertEqual(self.witness.news(), [("lost", "no answer for 2 seconds")])
        self.exchange("1 Zoe", "")
        self.assertEqual([told[0] for told in self.witness.news()], ["back", "joined"])

    def test_texts_before_joining_are_said_after_it(self) -> None:
        self.say("early")
        self.session.join("Zoe")
        self.exchange("1 Zoe", "")
        self.assertEqual(self.sent(), ["2 early"])

    def test_nothing_listens(self) -> None:
        self.session.join("Zoe")
        self.session.conversation.refused("nothing is listening")
        self.assertEqual(self.witness.news(), [("ended", "nothing is listening")])
        self.clock.advance(100)
        self.assertEqual(self.sent(), ["1 Zoe"])


class PollingTest(PolledCase):
    def setUp(self) -> None:
        super().setUp()
        self.enter()

    def test_it_asks_every_so_often(self) -> None:
        for _ in range(5):
            self.clock.advance(POLL_SECONDS - 0.5)
            self.assertEqual(self.sent(), [])
            self.clock.advance(0.5)
            self.exchange("5", "")

    def test_it_polls_at_once_while_lines_may_wait(self) -> None:
        self.clock.advance(POLL_SECONDS)
        self.exchange("5", "Bob: one\nBob: two")
        self.exchange("5", "Bob: three")
        self.exchange("5", "")
        self.assertEqual(self.sent(), [])
        self.assertEqual(self.witness.lines, [(0, "Bob: one"), (0, "Bob: two"), (0, "Bob: three")])

    def test_poll_asks_at_once(self) -> None:
        self.session.ask(Poll())
        self.exchange("5", "Bob: hi")
        self.assertEqual(self.witness.news(), [("answered", Poll(), [])])
        self.exchange("5", "")

    def test_a_poll_is_repeated_and_late_lines_are_received(self) -> None:
        self.clock.advance(POLL_SECONDS)
        self.clock.advance(2)
        self.assertEqual(self.sent(), ["5", "5"])
        self.reply("Bob: one")
        self.assertEqual(self.witness.news(), [("lost", "no answer for 2 seconds"), ("back", -1)])
        self.reply("Bob: two")
        self.assertEqual(self.witness.heard_lines(), ["Bob: one", "Bob: two"])

    def test_datagrams_that_are_no_lines_are_ignored(self) -> None:
        self.reply("close", "Illegal message", "", "Bob, Al", "Zoe, (120 more)")
        self.assertEqual(self.witness.lines, [])

    def test_control_characters_are_removed(self) -> None:
        self.reply("Bob: \x1b[2Jhi\x07")
        self.assertEqual(self.witness.heard_lines(), ["Bob: [2Jhi"])

    def test_nothing_is_sent_during_a_pause(self) -> None:
        self.session.pause()
        self.clock.pump([1] * 60)
        self.assertEqual(self.sent(), [])
        self.session.resume()
        self.exchange("5", "")

    def test_texts_of_a_pause_are_sent_after_it_and_before_leaving(self) -> None:
        self.session.pause()
        self.say("one")
        self.session.leave()
        self.clock.pump([1] * 60)
        self.assertEqual(self.sent(), [])
        self.session.resume()
        self.exchange("2 one", "")
        self.exchange("4", "close")
        self.assertEqual([told[0] for told in self.witness.news()], ["answered", "ended"])

    def test_a_restarted_server_is_waited_for(self) -> None:
        self.clock.advance(POLL_SECONDS)
        self.session.conversation.refused("nothing is listening")
        self.clock.advance(2)
        self.assertEqual(self.sent(), ["5", "5"])
        self.reply("")
        self.assertEqual([told[0] for told in self.witness.news()], ["lost", "back"])


class SayingTest(PolledCase):
    def setUp(self) -> None:
        super().setUp()
        self.enter()

    def test_texts_go_one_at_a_time_and_then_a_poll(self) -> None:
        one, two = self.say("one", " two")
        self.exchange("2 one", "Bob: hi")
        self.assertEqual(self.witness.news(), [("answered", one, [])])
        self.exchange("2  two", "")
        self.assertEqual(self.witness.news(), [("answered", two, [])])
        self.exchange("5", "")
        self.assertEqual(self.sent(), [])
        self.assertEqual(self.witness.heard_lines(), ["Bob: hi"])

    def test_commands_of_a_lost_seat_are_unconfirmed(self) -> None:
        [one] = self.say("one")
        self.assertEqual(self.sent(), ["2 one"])
        self.clock.advance(2)
        self.assertEqual(self.witness.news(), [("lost", "no answer for 2 seconds"), ("unconfirmed", one)])
        self.clock.pump([1] * 100)
        self.assertEqual(set(self.sent()), {"5"})

    def test_nothing_is_sent_while_the_server_is_away(self) -> None:
        self.say("one")
        self.clock.advance(2)
        [two] = self.say("two")
        self.witness.news()
        self.clock.pump([1] * 100)
        self.assertNotIn("2 two", self.sent())
        self.reply("")
        self.assertEqual(self.witness.news(), [("back", -1)])
        self.exchange("2 two", "")
        self.assertEqual(self.witness.news(), [("answered", two, [])])

    def test_a_text_that_reached_nobody_is_sent_again_in_order(self) -> None:
        self.sender.broken = "the network is unreachable"
        one, two = self.say("one", "two")
        self.assertEqual(self.witness.news(), [("lost", "the network is unreachable")])
        self.sender.broken = ""
        for _ in range(5):
            self.clock.advance(AGAIN_SECONDS)
        while (sent := self.sent())[:1] == ["5"]:
            self.reply("")
        self.assertEqual(sent, ["2 one"])
        self.reply("")
        self.exchange("2 two", "")
        self.assertEqual(self.witness.news(), [("back", -1), ("answered", one, []), ("answered", two, [])])

    def test_an_illegal_text_is_refused_once_a_poll_proves_the_seat(self) -> None:
        bad, good = self.say("\x01", "good")
        self.exchange("2 \x01", "Illegal message")
        self.assertEqual(self.witness.news(), [])
        self.exchange("5", "Bob: hi")
        self.assertEqual(self.witness.news(), [("refused", bad, REFUSED_TEXT)])
        self.exchange("2 good", "")
        self.assertEqual(self.witness.news(), [("answered", good, [])])

    def test_a_text_too_early_is_sent_again_after_a_pause(self) -> None:
        early, later = self.say("early", "later")
        for _ in range(2):
            self.exchange("2 early", "Illegal message")
            self.exchange("5", "")
            self.assertEqual((self.sent(), self.witness.news()), ([], []))
            self.clock.advance(SLOW_SECONDS)
        self.exchange("2 early", "")
        self.exchange("2 later", "")
        self.assertEqual(self.witness.news(), [("answered", early, []), ("answered", later, [])])

    def test_a_text_refused_each_time_is_given_up(self) -> None:
        [text] = self.say("text")
        for _ in range(SLOW_TRIES + 1):
            self.exchange("2 text", "Illegal message")
            self.exchange("5", "")
            self.clock.advance(SLOW_SECONDS)
        self.assertEqual(self.witness.news(), [("refused", text, REFUSED_TEXT)])

    def test_a_name_that_is_taken_is_refused(self) -> None:
        self.session.ask(Rename("Bob"))
        self.exchange("3 Bob", "Illegal message")
        self.exchange("5", "")
        self.assertEqual(self.witness.news(), [("refused", Rename("Bob"), REFUSED_NAME)])


class GoneTest(PolledCase):
    """The server has given up the seat."""

    def setUp(self) -> None:
        super().setUp()
        self.enter()

    def test_it_joins_again_and_says_so(self) -> None:
        self.clock.advance(POLL_SECONDS)
        self.exchange("5", "Illegal message")
        self.exchange("1 Zoe", "Al")
        self.assertEqual(self.witness.news(), [("rejoined", "Zoe")])
        self.exchange("5", "")

    def test_a_text_illegal_for_a_lost_seat_is_said_after_rejoining(self) -> None:
        one, two = self.say("one", "two")
        self.exchange("2 one", "Illegal message")
        self.exchange("5", "Illegal message")
        self.exchange("1 Zoe", "Bob")
        self.exchange("2 one", "")
        self.exchange("2 two", "")
        self.exchange("5", "")
        self.assertEqual(self.witness.news(), [("rejoined", "Zoe"), ("answered", one, []), ("answered", two, [])])

    def test_a_text_that_is_illegal_after_rejoining_is_refused(self) -> None:
        [bad] = self.say("\x01")
        self.exchange("2 \x01", "Illegal message")
        self.exchange("5", "Illegal message")
        self.exchange("1 Zoe", "Bob")
        self.exchange("2 \x01", "Illegal message")
        self.exchange("5", "")
        self.assertEqual(self.witness.news(), [("rejoined", "Zoe"), ("refused", bad, REFUSED_TEXT)])

    def test_it_rejoins_after_a_lost_seat_under_its_last_name(self) -> None:
        self.session.ask(Rename("Yan"))
        self.exchange("3 Yan", "")
        self.exchange("5", "Illegal message")
        self.assertEqual(self.sent(), ["1 Yan"])

    def test_it_ends_if_rejoining_is_refused(self) -> None:
        [one] = self.say("one")
        self.exchange("2 one", "Illegal message")
        self.exchange("5", "Illegal message")
        self.exchange("1 Zoe", "Illegal message")
        self.assertEqual(self.witness.news(), [("refused", one, "there is no seat"), ("ended", LOST_SEAT)])
        self.clock.pump([1] * 100)
        self.assertEqual(self.sent(), [])


class LeavingTest(PolledCase):
    def test_before_it_was_anywhere(self) -> None:
        self.session.leave()
        self.assertEqual((self.witness.news(), self.sent()), ([("ended", "")], []))

    def test_after_all_that_was_asked(self) -> None:
        self.enter()
        self.say("one", "two")
        self.session.leave()
        self.exchange("2 one", "")
        self.exchange("2 two", "")
        self.exchange("4", "close")
        self.assertEqual(self.witness.news()[-1], ("ended", ""))
        self.clock.advance(100)
        self.assertEqual((self.sent(), self.clock.getDelayedCalls()), ([], []))

    def test_after_its_join_is_answered(self) -> None:
        self.session.join("Zoe")
        self.session.leave()
        self.exchange("1 Zoe", "")
        self.exchange("4", "close")
        self.assertEqual(self.witness.news()[-1], ("ended", ""))

    def test_a_seat_that_is_gone_is_left(self) -> None:
        self.enter()
        self.session.leave()
        self.exchange("4", "Illegal message")
        self.assertEqual(self.witness.news(), [("ended", "")])

    def test_a_server_that_does_not_answer_is_reported(self) -> None:
        self.enter()
        self.session.leave()
        self.clock.pump([1] * 100)
        self.assertEqual(
            self.witness.news()[-1], ("ended", "the server did not answer, and may not know that you left")
        )

    def test_a_network_that_is_down_is_reported(self) -> None:
        self.enter()
        self.sender.broken = "the network is down"
        self.session.leave()
        why = "the server cannot be told that you left: the network is down"
        self.assertEqual(self.witness.news(), [("ended", why)])

    def test_while_it_has_no_name(self) -> None:
        self.session.join("Zoe")
        self.exchange("1 Zoe", "Illegal message")
        self.session.leave()
        self.assertEqual([told[0] for told in self.witness.news()], ["not_joined", "ended"])

    def test_after_stop_nothing_follows(self) -> None:
        self.enter()
        self.say("one")
        self.session.stop()
        self.reply("")
        self.clock.pump([1] * 100)
        self.assertEqual((self.witness.news(), self.sent(), self.clock.getDelayedCalls()), ([], ["2 one"], []))


class BadNetwork(DatagramSender):
    """A network between a client, who is member 1, and a real node. It loses datagrams at random; none is late."""

    def __init__(self, seed: int, loss: float) -> None:
        self.chance = random.Random(seed)
        self.loss = loss
        self.clock = Clock()
        self.node = Node(clock=self.clock)
        self.witness = Witness()
        self.session = PolledSession(self.clock, self, self.witness, POLL_SECONDS)
        self.heard_by_bob: list[str] = []

    def send(self, datagram: bytes) -> None:
        self.clock.callLater(0.05, self._arrive, datagram)

    def use_next(self) -> bool:
        return False

    def _arrive(self, request: bytes) -> None:
        if self.chance.random() >= self.loss:
            self.node.send(1, request)

    def happen(self, seconds: float) -> None:
        """Let time pass, while Bob, who is member 2, polls over a good network."""
        for _ in range(round(seconds / 0.05)):
            self.clock.advance(0.05)
            self._deliver()
            self.node.send(2, "5")

    def _deliver(self) -> None:
        self.clock.advance(0)
        sent, self.node.port.sent = self.node.port.sent, []
        for reply, (_host, who) in sent:
            if who == 2:
                self.heard_by_bob += reply.decode().split("\n") if reply else []
            elif self.chance.random() >= self.loss:
                self.session.conversation.received(reply)

    def bob(self, request: str) -> None:
        self.node.send(2, request)
        self._deliver()

    def restart(self) -> None:
        """Replace the server by one without members."""
        self.bob("5")
        self.node = Node(clock=self.clock)
        self.bob("1 Bob")


class BadNetworkTest(SynchronousTestCase):
    def run_one(self, seed: int, loss: float) -> tuple[BadNetwork, list[SessionCommand]]:
        network = BadNetwork(seed, loss)
        network.bob("1 Bob")
        network.session.join("Zoe")
        asked: list[SessionCommand] = []
        for number in range(30):
            ask = Say("\x01" if network.chance.random() < 0.1 else f"text {number}")
            asked.append(ask)
            network.session.ask(ask)
            network.happen(network.chance.choice([0.05, 0.5, 5]))
            if network.chance.random() < 0.1:
                network.restart()
        network.loss = 0.0
        network.happen(120)
        return network, asked

    def test_on_a_bad_network_nothing_is_doubled_or_lost_silently(self) -> None:
        kinds: set[object] = set()
        for seed in range(40):
            network, asked = self.run_one(seed, 0.25)
            answers = [told for told in network.witness.told if told[0] in ("answered", "refused", "unconfirmed")]
            self.assertEqual([told[1] for told in answers], asked, seed)
            said = [line for line in network.heard_by_bob if line.startswith("Zoe: ")]
            self.assertEqual(len(said), len(set(said)), f"doubled with seed {seed}")
            self.assertEqual(said, sorted(said, key=lambda line: int(line.split()[-1])), seed)
            for kind, ask, *_ in answers:
                assert isinstance(ask, Say)
                if ask.text == "\x01":
                    self.assertIn(kind, ("refused", "unconfirmed"), seed)
                elif kind != "unconfirmed":
                    self.assertEqual(kind == "answered", f"Zoe: {ask.text}" in said, (seed, ask))
            kinds |= {told[0] for told in network.witness.told}
            network.session.leave()
            network.happen(60)
            self.assertEqual(network.witness.told[-1], ("ended", ""), seed)
            self.assertEqual(network.heard_by_bob[-1], "Zoe has left the group", seed)
        self.assertEqual(kinds, {"joined", "rejoined", "answered", "refused", "unconfirmed", "lost", "back"})

    def test_on_a_good_network_everything_is_said(self) -> None:
        network, asked = self.run_one(1, 0.0)
        told = {told[0] for told in network.witness.told}
        self.assertLessEqual(told, {"joined", "rejoined", "answered", "refused"})
        said = [line for line in network.heard_by_bob if line.startswith("Zoe: ")]
        self.assertEqual(said, [f"Zoe: {ask.text}" for ask in asked if isinstance(ask, Say) and ask.text != "\x01"])
