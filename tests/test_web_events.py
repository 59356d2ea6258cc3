"""Streams of events: each line arrives once, in every tab, over every break."""

from __future__ import annotations

import json

from groupchat.core.commands import Erase, Remove
from groupchat.core.limits import MAX_WEB_STREAMS, WEB_BEAT_SECONDS
from groupchat.frontends.web.request import COOKIE
from tests.lobby import Lobby, late_lobby
from tests.web import KEY, Events, WebTestCase, parse

OTHER = "ee" * 16


class EventTests(WebTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.join()

    def say(self, *texts: str) -> None:
        for text in texts:
            self.assertEqual(self.post("/messages", text).status, 200)

    def test_a_stream_begins_after_the_last_line(self) -> None:
        events = self.events()
        self.assertEqual(events.reply.headers["content-type"], "text/event-stream")
        self.assertEqual(events.blocks(), [{"retry": "1000", "id": "2"}])
        self.say("hello")
        self.lobby.ask(1, "2 hi")
        self.assertEqual(events.texts(), ["Alice said hello", "Bob said hi"])

    def test_a_stream_continues_after_the_last_line_seen(self) -> None:
        self.say("a", "b", "c")
        for events in [self.events("/events?after=3"), self.events(Last_Event_ID="3")]:
            self.assertEqual(events.texts(), ["Alice said b", "Alice said c"])
        self.assertEqual(self.events("/events?after=0", Last_Event_ID="4").texts(), ["Alice said c"])
        self.assertEqual(len(self.events("/events?after=0").lines()), 5)

    def test_a_number_of_the_future_means_the_last_line(self) -> None:
        events = self.events(f"/events?after={2**63 - 1}")
        self.say("hello")
        self.assertEqual(events.texts(), ["Alice said hello"])

    def test_a_malformed_number_is_refused(self) -> None:
        for number in ["x", "-1", "1.5", "9" * 20]:
            self.refused(self.get("/events", Last_Event_ID=number), 400)

    def test_all_tabs_see_all_lines(self) -> None:
        tabs = [self.events() for _ in range(3)]
        self.say("one", "two")
        for tab in tabs:
            self.assertEqual(tab.texts(), ["Alice said one", "Alice said two"])

    def test_only_the_two_members_see_a_whisper(self) -> None:
        self.join("Carol", OTHER)
        alice, carol = self.events(), self.events(key=OTHER)
        self.join("Dora", "dd" * 16)
        dora = self.events(key="dd" * 16)
        alice.lines(), carol.lines()
        body = '{"text":"psst","to":"Carol"}'
        self.assertEqual(self.post("/messages", body, Content_Type="application/json").status, 200)
        self.say("aloud")
        self.assertEqual(alice.texts(), ["Alice private psst", "Alice said aloud"])
        self.assertEqual(carol.texts(), ["Alice private psst", "Alice said aloud"])
        self.assertEqual(dora.texts(), ["Alice said aloud"])

    def test_a_reader_is_live_and_not_behind(self) -> None:
        events = self.events()
        self.lobby.ask(1, "2 hi")
        events.lines()
        (_, alice) = self.get("/members").json["members"]
        self.assertEqual((alice["how"], alice["behind"]), ("live", 0))
        events.line.lose()
        self.lobby.ask(1, "2 hi")
        self.lobby.settle()
        (_, alice) = self.get("/members").json["members"]
        self.assertEqual((alice["how"], alice["behind"]), ("away", 1))

    def test_a_seat_is_held_for_a_while_without_a_stream(self) -> None:
        events = self.events()
        self.pass_time(1000)
        self.assertEqual(self.get("/me").json["name"], "Alice")
        events.line.lose()
        self.pass_time(299)
        self.assertEqual(len(self.lobby.service.group.members), 2)
        self.pass_time(3)
        self.assertEqual(len(self.lobby.service.group.members), 1)

    def test_closing_one_of_two_tabs_keeps_the_seat(self) -> None:
        one, two = self.events(), self.events()
        one.line.lose()
        self.pass_time(1000)
        self.say("still here")
        self.assertEqual(two.texts(), ["Alice said still here"])

    def test_heartbeats_are_sent(self) -> None:
        events = self.events()
        events.line.heard()
        self.pass_time(WEB_BEAT_SECONDS + 1)
        self.assertEqual(events.line.heard(), b":\n\n")
        self.pass_time(WEB_BEAT_SECONDS + 1)
        self.assertEqual(events.line.heard(), b":\n\n")

    def test_leaving_ends_the_stream_of_every_tab(self) -> None:
        one, two = self.events(), self.events()
        self.assertEqual(self.post("/leave").status, 204)
        for events in (one, two):
            self.assertEqual(events.blocks()[-1], {"event": "gone", "data": '"You have left the group."'})
            self.assertTrue(events.line.is_over)

    def test_who_was_removed_is_told_to_stay_away(self) -> None:
        one, two = self.events(), self.events()
        self.lobby.service.operate(Remove("Alice", by="root", why="spam"))
        self.lobby.settle()
        for events in (one, two):
            self.assertEqual(events.blocks()[-1], {"event": "removed", "data": '"You were removed: spam"'})
            self.assertTrue(events.line.is_over)
        self.refused(self.post("/messages", "hi"), 403)
        self.refused(self.ask("POST", "/name", "Al", Cookie=f"http-{COOKIE}={KEY}"), 403, "spam")

    def test_what_is_erased_is_forgotten_at_once(self) -> None:
        events = self.events()
        self.lobby.ask(1, "2 secret")
        self.assertEqual(events.texts(), ["Bob said secret"])
        number = self.get("/me").json["head"]
        self.lobby.service.operate(Erase(number, number, by="root"))
        self.lobby.settle()
        (block,) = events.blocks()
        self.assertEqual(block["event"], "erased")
        self.assertEqual(json.loads(block["data"]), {"first": number, "last": number, "by": None})
        (line,) = self.get(f"/history?after={number - 1}").json["lines"]
        self.assertEqual((line["kind"], line["text"]), ("server", "a line was removed"))
        self.assertNotIn("Bob said secret", self.events("/events?after=0").texts())

    def test_a_session_can_be_resumed_over_tcp(self) -> None:
        events = self.events()
        caller = self.lobby.call()
        caller.send(f"/resume {KEY} 0")
        self.assertEqual(events.blocks()[-1]["event"], "gone")
        self.assertIn("session 2 0 Alice", caller.heard())
        back = self.events()
        self.assertIn("* This session goes on on another connection.", caller.heard())
        self.say("back")
        self.assertEqual(back.texts(), ["Alice said back"])
        caller.lose()

    def test_requests_under_way_fail_when_the_session_is_resumed(self) -> None:
        self.open(late_lobby(1.0))
        joining = self.request("POST", "/name", "Alice", Authorization=f"Bearer {KEY}")
        self.lobby.settle()
        self.pass_time(2)
        self.assertIn(b"200 OK", joining.heard())
        saying = self.request("POST", "/messages", "hello", key=KEY)
        caller = self.lobby.call()
        caller.send(f"/resume {KEY} 0")
        self.refused(parse(saying.heard())[0], 503, "another connection")
        self.pass_time(2)
        caller.lose()

    def test_lines_no_longer_kept_are_announced(self) -> None:
        self.open(Lobby(keep=3))
        self.join()
        self.say("a", "b", "c", "d", "e")
        gap, *lines = self.events("/events?after=0").lines()
        self.assertEqual((gap["kind"], gap["text"], gap["number"]), ("server", "3 lines are no longer kept", 3))
        self.assertEqual([line["text"] for line in lines], ["c", "d", "e"])
        (gap,) = self.events("/events?after=2").lines()[:1]
        self.assertEqual(gap["text"], "1 line is no longer kept")
        self.assertEqual(self.get("/history?after=0").json["lines"][0]["kind"], "server")

    def test_a_stalled_reader_gets_nothing_and_is_dropped(self) -> None:
        events = self.events()
        events.line.channel.pauseProducing()
        for _ in range(50):
            self.say("x" * 1000)
        self.assertEqual(events.texts(), [])
        self.pass_time(WEB_BEAT_SECONDS + 1)
        self.assertEqual(events.line.heard(), b"")
        events.line.channel.resumeProducing()
        self.assertEqual(len(events.texts()), 50)
        events.line.channel.pauseProducing()
        self.pass_time(61)
        self.assertTrue(events.line.is_dropped)

    def test_the_number_of_streams_is_limited(self) -> None:
        for _ in range(MAX_WEB_STREAMS):
            self.events()
        self.refused(self.get("/events"), 503, "close one of them")

    def test_data_sent_on_a_stream_is_thrown_away(self) -> None:
        events = self.events()
        for _ in range(10):
            events.line.send(b"GET /me HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
        self.say("hello")
        self.assertEqual(events.texts(), ["Alice said hello"])
        self.assertEqual(events.line.channel._dataBuffer, [])

    def test_data_sent_before_a_stream_does_not_stop_reading(self) -> None:
        line = self.line()
        head = f"GET /events HTTP/1.1\r\nHost: x\r\nCookie: groupchat={KEY}\r\n\r\n".encode()
        line.send(head + b"GET /me HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
        line.send(b"x" * 100_000)
        self.assertEqual((line.transport.producerState, line.channel._dataBuffer), ("producing", []))

    def test_a_stream_is_told_that_the_daemon_stops(self) -> None:
        events = self.events()
        idle = self.request("GET", "/healthz")
        idle.heard()
        self.site.stop()
        stopped = self.lobby.registry.stop()
        self.pass_time(0.1)
        self.assertEqual(events.blocks()[-1], {"event": "stopping", "data": "{}"})
        self.assertTrue(idle.is_over)
        for line in self.lines:
            line.lose()
        self.pass_time(7)
        self.successResultOf(stopped)
        self.lobby.registry.start()

    def test_who_connects_and_asks_nothing_is_dropped_at_a_stop(self) -> None:
        old = self.line()
        self.pass_time(1)
        new = self.line()
        self.site.stop()
        stopped = self.lobby.registry.stop()
        self.assertEqual((old.is_over, new.is_over), (True, False))
        self.lobby.clock.pump([0.1] * 40)
        self.assertTrue(new.is_dropped)
        for line in self.lines:
            line.lose()
        self.lobby.clock.pump([0.1] * 5)
        self.successResultOf(stopped)
        self.lobby.registry.start()

    def test_who_connected_before_the_stop_is_answered(self) -> None:
        line = self.line()
        self.site.stop()
        stopped = self.lobby.registry.stop()
        reply = self.request("POST", "/messages?name=cron", "late", line=line).heard()
        self.assertEqual(reply.partition(b"\r\n")[0], b"HTTP/1.1 200 OK")
        self.assertTrue(line.is_over)
        self.assertEqual(self.told()[-1:], ["cron: late"])
        for each in self.lines:
            each.lose()
        self.pass_time(7)
        self.successResultOf(stopped)
        self.lobby.registry.start()

    def test_a_line_is_rendered_once_for_all_readers(self) -> None:
        readers: list[Events] = []
        for number in range(8):
            key = f"{number:032x}"
            self.join(f"R{number}", key)
            readers.append(self.events(key=key))
        before = self.site.renderer.line.cache_info()
        self.say("hello")
        for reader in readers:
            self.assertEqual(reader.texts()[-1], "Alice said hello")
        after = self.site.renderer.line.cache_info()
        self.assertEqual((after.misses - before.misses, after.hits - before.hits), (1, 0))

    def test_texts_cannot_end_an_event(self) -> None:
        events = self.events()
        for text in ['"}\\n\\nevent: gone', "</script>", "data: x", "id: 7", "\u2028" + "x", "\t"]:
            self.post("/messages", text)
        for line in events.lines():
            self.assertEqual(line["by"], self.get("/me").json["id"])
        self.assertEqual(events.blocks(), [])
