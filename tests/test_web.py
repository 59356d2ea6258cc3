"""The group over HTTP, without sockets: see docs/protocol.md, "HTTP"."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

from groupchat.core.errors import Unavailable
from groupchat.core.limits import MAX_WEB_BODY, PASSWORD_CHECKS, Limits
from groupchat.frontends.web.request import COOKIE
from tests.lobby import Lobby
from tests.logs import FailingLog
from tests.web import HOST, KEY, Line, WebTestCase, parse

OTHER = "ee" * 16

OTHER_KEY = "ff" * 16


class JoiningTests(WebTestCase):
    def test_a_client_without_a_key_is_nobody(self) -> None:
        reply = self.get("/me", key="")
        self.assertEqual(
            reply.json,
            {
                "group": "lobby",
                "name": None,
                "id": None,
                "since": None,
                "last_id": 0,
                "head": 1,
                "topic": "",
                "operator": False,
                "files": True,
                "max_file": 5_000_000,
                "max_text": 4096,
            },
        )

    def test_a_client_joins_with_a_name(self) -> None:
        member_id = self.join("Alice")
        self.assertEqual(self.told(), ["Alice has joined"])
        me = self.get("/me").json
        self.assertEqual((me["name"], me["id"], me["head"]), ("Alice", member_id, 2))

    def test_joining_without_a_key_creates_one(self) -> None:
        (cookie,) = self.post("/name", "Alice", key="").cookies
        name, key = cookie.partition(";")[0].split("=")
        self.assertEqual(name, f"http-{COOKIE}")
        self.assertRegex(key, "^[0-9a-f]{32}$")
        self.assertEqual(cookie.partition("; ")[2], "Path=/; Max-Age=31536000; HttpOnly; SameSite=Strict")
        self.assertEqual(self.get("/me", key=key).json["name"], "Alice")

    def test_a_refused_name_says_why(self) -> None:
        self.refused(self.post("/name", "Bob"), 409, "The name Bob is in use.")
        self.assertIsNone(self.get("/me").json["name"])

    def test_a_member_may_join_again(self) -> None:
        member_id = self.join()
        self.assertEqual(self.join(), member_id)
        self.assertEqual(self.told(), ["Alice has joined"])

    def test_a_join_may_be_repeated_with_the_same_spelling(self) -> None:
        for _ in range(2):  # the answer to the first was lost
            reply = self.ask("POST", "/name", "John  Doe", Authorization=f"Bearer {KEY}")
            self.assertEqual((reply.status, reply.json.get("name")), (200, "John Doe"))

    def test_a_join_may_be_repeated_before_its_answer(self) -> None:
        first = self.request("POST", "/name", "Alice", Authorization=f"Bearer {KEY}")
        second = self.request("POST", "/name", "Alice", Authorization=f"Bearer {KEY}")
        for line in (first, second):
            self.assertIn(b"200 OK", line.heard())
        self.assertEqual(self.told(), ["Alice has joined"])

    def test_a_member_changes_its_name(self) -> None:
        self.join()
        reply = self.ask("POST", "/name", json.dumps({"name": "Ali"}), key=KEY, Content_Type="application/json")
        self.assertEqual(reply.json["name"], "Ali")
        self.assertEqual(self.told(), ["Alice has joined", "Alice changed his name to Ali"])
        self.refused(self.post("/name", "Bob"), 409, "in use")

    def test_a_client_leaves_and_joins_again(self) -> None:
        self.join()
        self.assertEqual(self.post("/leave").status, 204)
        self.assertIsNone(self.get("/me").json["name"])
        self.assertEqual(self.post("/leave").status, 204)
        self.refused(self.post("/messages", "hi"), 403, "join first")
        self.join("Alice")
        self.assertEqual(self.told(), ["Alice has joined", "Alice has left the group", "Alice has joined"])

    def test_a_script_sends_its_key_as_a_bearer_token(self) -> None:
        auth = f"Bearer {OTHER}"
        self.assertEqual(self.ask("POST", "/name", "Cron", Authorization=auth).status, 200)
        self.assertEqual(self.ask("POST", "/messages", "hi", Authorization=auth).status, 200)
        self.assertEqual(self.told(), ["Cron has joined", "Cron: hi"])

    def test_a_malformed_key_is_ignored(self) -> None:
        for key in ["", "x", "0" * 31, "0" * 33, "Z" * 32]:
            self.refused(self.get("/history", key=key), 403)

    def test_the_key_is_found_among_other_cookies(self) -> None:
        self.join()
        reply = self.ask("GET", "/me", Cookie=f"a=b; {COOKIE}={KEY}; =; c; groupchatx=1")
        self.assertEqual(reply.json["name"], "Alice")


class SayingTests(WebTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.join()
        self.told()

    def say(self, **body: object) -> Any:
        reply = self.ask("POST", "/messages", json.dumps(body), key=KEY, Content_Type="application/json")
        return reply.json if reply.status == 200 else (reply.status, reply.error)

    def test_a_text_is_said(self) -> None:
        self.assertEqual(self.post("/messages", "hello\n").json, {"number": 3})
        self.assertEqual(self.say(text="ünïcode 🎉"), {"number": 4})
        self.assertEqual(self.told(), ["Alice: hello", "Alice: ünïcode 🎉"])

    def test_a_form_sent_by_curl_is_plain_text(self) -> None:
        form = "application/x-www-form-urlencoded"
        self.assertEqual(self.post("/messages", "a=b&c=%20+", Content_Type=form).status, 200)
        self.assertEqual(self.told(), ["Alice: a=b&c=%20+"])

    def test_a_text_to_one_member_is_private(self) -> None:
        self.join("Carol", OTHER)
        self.assertEqual(self.say(text="psst: you", to="Carol"), {"number": 4})
        self.assertEqual(self.told(), ["Carol has joined"])
        (line,) = self.get("/history?after=3", key=OTHER).json["lines"]
        self.assertEqual((line["kind"], line["name"], line["text"]), ("private", "Alice", "psst: you"))
        self.assertEqual(line["to_name"], "Carol")
        for path in ["/history?after=3", "/history?limit=1"]:
            self.assertEqual(self.get(path).json["lines"], [line])
        self.join("Dora", "dd" * 16)
        for path in ["/history?after=3", "/history?before=6"]:
            self.assertNotIn(line, self.get(path, key="dd" * 16).json["lines"])

    def test_the_recipient_must_be_a_member(self) -> None:
        for to in ["Nobody", "Bob: x", "", 1, ["Bob"]]:
            status, _ = self.say(text="hi", to=to)
            self.assertEqual(status, 409, to)
        self.assertEqual(self.told(), [])

    def test_a_text_with_the_same_id_is_said_once(self) -> None:
        for _ in range(3):
            self.assertEqual(self.say(text="once", id="7"), {"number": 3})
        self.assertEqual(self.say(text="twice", id=8), {"number": 4})
        self.assertEqual(self.say(text="once", id="7"), {})  # its number is not known any more
        self.assertEqual(self.told(), ["Alice: once", "Alice: twice"])
        self.lobby.ask(1, "2 once")
        self.lobby.settle()
        self.assertEqual(self.say(text="once", id="7"), {})

    def test_an_id_far_behind_is_refused(self) -> None:
        self.assertEqual(self.say(text="a", id="100"), {"number": 3})
        self.assertEqual(
            self.say(text="b", id="36"), (409, "That number is too far behind the highest that you have used.")
        )

    def test_a_malformed_id_is_refused(self) -> None:
        for wrong in ["0", "-1", "x", "", str(2**63), 2**63, -1, 0, True, 1.5, [], "1" * 30, "\u0661"]:
            status, _ = self.say(text="hi", id=wrong)
            self.assertEqual(status, 400, wrong)
        self.assertEqual(self.say(text="hi", id=str(2**63 - 1)), {"number": 3})

    def test_a_malformed_text_is_refused(self) -> None:
        for body, status in [("", 409), ("  ", 409), ("a\nb", 409), ("\x1b[2J", 409), ("x" * 4097, 409)]:
            self.refused(self.post("/messages", body), status)
        self.refused(self.post("/messages", b"\xff"), 400, "UTF-8")

    def test_one_byte_order_mark_before_a_body_is_dropped(self) -> None:
        self.assertEqual(self.post("/messages", "\ufeffhi\n").status, 200)
        body = "\ufeff" + json.dumps({"text": "\ufeffho"})
        self.assertEqual(self.post("/messages", body, Content_Type="application/json").status, 200)
        self.assertEqual(self.told(), ["Alice: hi", "Alice: \ufeffho"])
        self.refused(self.post("/messages", "\ufeff"), 409)

    def test_malformed_json_is_refused(self) -> None:
        for body in ["", "{", "[]", "1", "null", '{"text":1}', "{}", '{"text":"\\ud800"}', "[" * 30_000]:
            reply = self.post("/messages", body, Content_Type="application/json; charset=utf-8")
            self.refused(reply, 400)
        self.assertEqual(self.told(), [])

    def test_texts_above_the_rate_are_refused_with_429(self) -> None:
        self.open(Lobby(rate=5))
        self.join()
        replies = [self.post("/messages", f"text {number}") for number in range(105)]
        self.assertEqual([reply.status for reply in replies[:99]], [200] * 99)
        self.refused(replies[-1], 429, "Slow down")
        self.assertEqual(replies[-1].headers["retry-after"], "1")

    def test_requests_of_one_session_are_done_in_order(self) -> None:
        lines = [self.request("POST", "/messages", f"text {number}", key=KEY) for number in range(12)]
        for number, line in enumerate(lines, 3):
            self.assertEqual(parse(line.heard())[0].json, {"number": number})
        self.assertEqual(self.told(), [f"Alice: text {number}" for number in range(12)])

    def test_pipelined_requests_are_answered(self) -> None:
        line = self.line()
        for number in range(5):
            self.request("POST", "/messages", f"text {number}", key=KEY, line=line)
        self.assertEqual(line.heard().count(b"HTTP/1.1 200 OK"), 5)
        self.assertEqual(self.told(), [f"Alice: text {number}" for number in range(5)])


class GuestTests(WebTestCase):
    def test_a_guest_says_a_text_without_joining(self) -> None:
        self.assertEqual(self.post("/messages?name=cron", "backup done\n", key="").status, 200)
        self.assertEqual(self.told(), ["cron: backup done"])
        self.assertEqual(len(self.lobby.service.group.members), 1)

    def test_a_guest_may_be_named_by_http_basic(self) -> None:
        auth = "Basic " + base64.b64encode(b"cron:").decode()
        self.assertEqual(self.post("/messages", "done", key="", Authorization=auth).status, 200)
        self.assertEqual(self.told(), ["cron: done"])

    def test_a_guest_cannot_use_the_name_of_a_member(self) -> None:
        self.refused(self.post("/messages?name=Bob", "I am Bob", key=""), 409, "in use")
        self.refused(self.post("/messages", "hi", key=""), 403, "?name=")
        self.assertEqual(self.told(), [])

    def test_the_name_of_a_guest_is_percent_decoded(self) -> None:
        self.assertEqual(self.post("/messages?name=b%C3%A4r+x", "hi", key="").status, 200)
        self.assertEqual(self.told(), ["bär x: hi"])
        self.refused(self.post("/messages?name=%ff", "hi", key=""), 400)

    def test_a_guest_cannot_whisper(self) -> None:
        body = json.dumps({"text": "hi", "to": "Bob"})
        self.refused(self.post("/messages?name=cron", body, key="", Content_Type="application/json"), 403)


class LookingTests(WebTestCase):
    def test_members_are_listed(self) -> None:
        member_id = self.join()
        reply = self.get("/members").json
        self.assertEqual(reply["total"], 2)
        bob, alice = reply["members"]
        self.assertEqual((bob["name"], bob["how"]), ("Bob", "polling"))
        self.assertEqual((alice["name"], alice["id"], alice["how"], alice["behind"]), ("Alice", member_id, "away", 0))

    def test_the_last_contact_of_an_absent_member_is_told(self) -> None:
        self.join("Alice")
        self.join("Carol", OTHER_KEY)
        stream = self.events()
        self.pass_time(100)
        stream.line.lose()
        went = self.lobby.clock.seconds()
        self.pass_time(100)
        contacts = {
            member["name"]: member["last_contact"] for member in self.get("/members", OTHER_KEY).json["members"]
        }
        self.assertEqual((contacts["Alice"], contacts["Carol"]), (went, went + 100))

    def test_the_highest_id_that_was_used_is_told(self) -> None:
        self.join()
        self.assertEqual(self.get("/me").json["last_id"], 0)
        for used, highest in [(7, 7), (3, 7), (10**12, 10**12)]:
            body = json.dumps({"text": "hi", "id": used})
            self.assertEqual(self.post("/messages", body, Content_Type="application/json").status, 200)
            self.assertEqual(self.get("/me").json["last_id"], highest)

    def test_only_members_read_the_conversation(self) -> None:
        for path in ["/members", "/history", "/events"]:
            reply = self.get(path)
            self.refused(reply, 403, "join first")

    def test_history_is_read_page_by_page(self) -> None:
        self.join()
        for number in range(5):
            self.lobby.ask(1, f"2 text {number}")
        self.lobby.settle()
        last = self.get("/history?limit=2").json
        self.assertEqual([line["text"] for line in last["lines"]], ["text 3", "text 4"])
        self.assertEqual((last["first"], last["head"]), (1, 7))
        before = self.get(f"/history?limit=3&before={last['lines'][0]['number']}").json
        self.assertEqual([line["text"] for line in before["lines"]], ["text 0", "text 1", "text 2"])
        after = self.get("/history?after=5&limit=50").json
        self.assertEqual([line["number"] for line in after["lines"]], [6, 7])
        self.assertEqual(self.get("/history?after=7").json["lines"], [])
        self.assertEqual(self.get("/history?before=1").json["lines"], [])

    def test_a_line_has_its_kind_author_and_text(self) -> None:
        alice = self.join()
        self.post("/messages?name=cron", "done", key="")
        bob, joined, said = self.get("/history").json["lines"]
        at = bob.pop("at")
        self.assertGreaterEqual(at, 12 * 3600.0)
        self.assertEqual(
            {key: bob[key] for key in ("kind", "name", "text")}, {"kind": "joined", "name": "Bob", "text": ""}
        )
        self.assertEqual((joined["by"], said["by"]), (alice, "0"))
        self.assertEqual((said["kind"], said["name"], said["text"], said["number"]), ("said", "cron", "done", 3))

    def test_malformed_numbers_are_refused(self) -> None:
        self.join()
        for query in ["before=x", "before=-1", "limit=1e9", "after=" + "9" * 20, "after=%00", "limit=1.5"]:
            self.refused(self.get(f"/history?{query}"), 400)
        for query in ["before=0", "limit=0", "limit=999999", f"before={2**63 - 1}", f"after={2**63 - 1}"]:
            self.assertEqual(self.get(f"/history?{query}").status, 200, query)

    def test_polling_keeps_a_seat(self) -> None:
        self.join()
        for _ in range(4):
            self.pass_time(200)
            self.assertEqual(self.get("/me").json["name"], "Alice")
        self.pass_time(301)
        self.assertIsNone(self.get("/me").json["name"])

    def test_head_has_no_body(self) -> None:
        reply = self.ask("HEAD", "/me", key=KEY)
        self.assertEqual((reply.status, reply.body), (200, b""))
        self.assertGreater(int(reply.headers["content-length"]), 10)


class WhispersAmongOthersTests(WebTestCase):
    def test_more_whispers_than_the_limit_are_not_the_end(self) -> None:
        self.join()
        self.join("Carol", OTHER)
        after = self.get("/me").json["head"]
        for _ in range(7):
            self.post("/messages", '{"text": "psst", "to": "Bob"}', OTHER, Content_Type="application/json")
        self.post("/messages", "to all", OTHER)
        (line,) = self.get(f"/history?after={after}&limit=3").json["lines"]
        self.assertEqual(line["text"], "to all")


class PageTests(WebTestCase):
    def test_the_page_is_served_with_its_headers(self) -> None:
        reply = self.get("/", key="")
        self.assertEqual((reply.status, reply.headers["content-type"]), (200, "text/html; charset=utf-8"))
        self.assertIn("script-src 'self'", reply.headers["content-security-policy"])
        self.assertNotIn("unsafe", reply.headers["content-security-policy"])
        self.assertEqual(reply.headers["x-content-type-options"], "nosniff")
        self.assertEqual(reply.headers["referrer-policy"], "no-referrer")
        self.assertEqual(reply.headers["cache-control"], "no-cache")

    def test_the_page_is_sent_with_gzip_on_request(self) -> None:
        plain, packed = self.get("/"), self.get("/", Accept_Encoding="br, gzip")
        self.assertEqual(packed.headers["content-encoding"], "gzip")
        self.assertEqual(gzip.decompress(packed.body), plain.body)
        self.assertNotEqual(plain.headers["etag"], packed.headers["etag"])

    def test_an_unchanged_page_is_answered_with_304(self) -> None:
        tag = self.get("/").headers["etag"]
        for wanted in [tag, f'"x", {tag}', f"W/{tag}", "*"]:
            self.assertEqual(self.get("/", If_None_Match=wanted).status, 304, wanted)
        self.assertEqual(self.get("/", If_None_Match='"other"').status, 200)

    def test_no_path_leads_out_of_the_folder(self) -> None:
        for path in ["/../site.py", "/static/../x", "//etc/passwd", "/%2e%2e/site.py", "/.", "/index.html/x"]:
            self.refused(self.get(path), 404)

    def test_metrics(self) -> None:
        figures = self.get("/metrics").body.decode()
        for line in ["groupchat_members 1.0", "groupchat_appended_total 1.0", "groupchat_live 0.0"]:
            self.assertIn(line, figures)


class HealthTests(WebTestCase):
    def test_health_is_ok_while_messages_are_stored(self) -> None:
        reply = self.get("/healthz", key="")
        self.assertEqual((reply.status, reply.body), (200, b"ok\n"))

    def test_health_returns_with_the_room_on_the_disk(self) -> None:
        log = FailingLog([])
        self.open(Lobby(log))
        self.join()
        self.pass_time(2)
        log.failures = [Unavailable("the disk is full")] * 3
        self.refused(self.post("/messages", "hi"), 503)
        for seconds, status, failures in [(0, 503, 1), (1, 503, 1), (4, 503, 0), (4, 503, 0), (1, 200, 0)]:
            self.pass_time(seconds)
            self.assertEqual((self.get("/healthz").status, len(log.failures)), (status, failures))


class PasswordTests(WebTestCase):
    limits = Limits(password=b"open sesame")
    right = "Basic " + base64.b64encode(b"cron:open sesame").decode()
    wrong = "Basic " + base64.b64encode(b"cron:open").decode()

    def trust(self) -> str:
        (cookie,) = self.post("/password", "\ufeffopen sesame\n").cookies
        self.assertIn("; HttpOnly; SameSite=Strict", cookie)
        return cookie.partition(";")[0]

    def test_nothing_is_shown_without_the_password(self) -> None:
        for path in ["/me", "/members", "/history", "/events", "/files", "/files/x", "/metrics"]:
            reply = self.get(path)
            self.refused(reply, 401, "password")
            self.assertTrue(reply.json["password"])
            self.assertNotIn("www-authenticate", reply.headers)  # or the browser would ask for the password itself
        self.refused(self.post("/messages?name=x", "hi"), 401)
        self.refused(self.post("/name", "Alice"), 401)
        for path in ["/", "/healthz"]:
            self.assertIn(self.get(path).status, (200, 503))

    def test_the_password_is_kept_as_a_cookie(self) -> None:
        trust = self.trust()
        reply = self.ask("POST", "/name", "Alice", Cookie=trust)
        self.assertEqual(reply.status, 200)
        cookie = f"{trust}; {reply.cookies[0].partition(';')[0]}"
        self.assertEqual(self.ask("GET", "/me", Cookie=cookie).json["name"], "Alice")

    def test_a_forged_cookie_is_refused(self) -> None:
        name, _, token = self.trust().partition("=")
        for other in ["", token[:-1], token[:-1] + ("0" if token[-1] != "0" else "1"), "0" * len(token), token.upper()]:
            self.refused(self.ask("GET", "/me", Cookie=f"{name}={other}"), 401)

    def test_the_cookie_is_valid_until_the_password_changes(self) -> None:
        cookie = self.trust()
        self.open(type(self.lobby)(limits=self.limits))
        self.assertEqual(self.ask("GET", "/me", Cookie=cookie).status, 200)
        self.open(type(self.lobby)(limits=Limits(password=b"other")))
        self.assertEqual(self.ask("GET", "/me", Cookie=cookie).status, 401)

    def test_a_script_sends_the_password_with_each_request(self) -> None:
        self.assertEqual(self.ask("POST", "/messages", "done", Authorization=self.right).status, 200)
        self.assertEqual(self.told(), ["cron: done"])

    def exhaust(self) -> None:
        """Give as many wrong passwords as a host may at once."""
        for _ in range(PASSWORD_CHECKS[0]):
            self.refused(self.ask("POST", "/password", "wrong"), 403, "not the password")

    def test_wrong_passwords_are_refused(self) -> None:
        self.refused(self.ask("POST", "/password", "wrong"), 403, "not the password")
        self.refused(self.ask("GET", "/me", Authorization=self.wrong), 401, "not the password")
        self.refused(self.ask("POST", "/messages", "done", Authorization=self.wrong), 401, "not the password")
        self.refused(self.ask("PUT", "/files/a", "abc", Authorization=self.wrong), 401, "not the password")
        self.assertEqual((self.told(), self.shelf.files), ([], {}))

    def waiting(self, method: str, path: str, body: str = "", step: int = 0, auth: str | None = None) -> Line:
        """Return a connection with a request that waits for its turn."""
        line = self.line()
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {auth or self.right}\r\n"
        raw = f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()
        for at in range(0, len(raw), step or len(raw)):
            line.send(raw[at : at + (step or len(raw))])
        self.assertEqual(line.heard(), b"")
        return line

    def test_the_right_password_has_its_turn_beside_guessers(self) -> None:
        self.exhaust()
        guesses = [self.waiting("GET", "/me", auth=self.wrong) for _ in range(3)]
        right = self.waiting("GET", "/me")
        for _ in guesses:
            self.pass_time(1)
            self.assertEqual(right.heard(), b"")
        self.pass_time(1)
        self.assertIn(b"HTTP/1.1 200 ", right.heard())
        for guess in guesses:
            self.assertIn(b"HTTP/1.1 401 ", guess.heard())

    def test_requests_with_bodies_wait_for_their_turn(self) -> None:
        for step in (0, 1):
            self.exhaust()
            line = self.waiting("POST", "/messages", "done", step)
            self.pass_time(PASSWORD_CHECKS[0])
            self.assertIn(b"HTTP/1.1 200 ", line.heard())
            self.assertEqual(self.told(), ["cron: done"])

    def test_the_rest_of_a_body_is_received_later(self) -> None:
        self.exhaust()
        line = self.line()
        line.send(f"PUT /files/a HTTP/1.1\r\nHost: x\r\nAuthorization: {self.right}\r\n".encode())
        line.send(b"Content-Length: 6\r\n\r\nabc")
        self.assertEqual((line.heard(), line.transport.producerState), (b"", "paused"))
        self.pass_time(1)
        self.assertEqual(line.transport.producerState, "producing")
        line.send(b"def")
        self.assertIn(b"HTTP/1.1 201 ", line.heard())
        self.assertEqual(self.shelf.files, {"a": b"abcdef"})

    def test_a_body_does_not_time_out_while_it_waits(self) -> None:
        self.exhaust()
        for _ in range(50):
            self.waiting("GET", "/me", auth=self.wrong)
        line = self.line()
        line.send(f"POST /messages HTTP/1.1\r\nHost: x\r\nAuthorization: {self.right}\r\n".encode())
        line.send(b"Content-Length: 4\r\n\r\ndo")
        self.lobby.clock.pump([1] * 50)
        self.assertEqual(line.heard(), b"")
        self.pass_time(1)
        line.send(b"ne")
        self.assertIn(b"HTTP/1.1 200 ", line.heard())
        self.assertEqual(self.told(), ["cron: done"])

    def test_a_lost_connection_waits_no_longer(self) -> None:
        self.exhaust()
        for _ in range(5):
            self.waiting("GET", "/me").lose()
        line = self.waiting("GET", "/me")
        self.pass_time(1)
        self.assertIn(b"HTTP/1.1 200 ", line.heard())

    def test_a_client_with_the_cookie_need_not_wait(self) -> None:
        cookie = self.trust()
        self.exhaust()
        self.assertEqual(self.ask("GET", "/me", Cookie=cookie).status, 200)

    def test_malformed_basic_authorization_is_ignored(self) -> None:
        for value in [
            "Basic",
            "Basic !",
            "Basic " + base64.b64encode(b"\xff:x").decode(),
            "Basic Y3Jvbg==",
            "Digest x",
        ]:
            self.refused(self.ask("GET", "/me", Authorization=value), 401)


class LimitTests(WebTestCase):
    def test_a_long_body_is_refused_before_it_arrives(self) -> None:
        line = self.line()
        head = f"POST /messages HTTP/1.1\r\nHost: x\r\nContent-Length: {MAX_WEB_BODY + 1}\r\n\r\n"
        line.send(head.encode())
        self.assertIn(b"HTTP/1.1 413 ", line.heard())

    def test_sessions_without_requests_are_forgotten(self) -> None:
        self.join()
        self.assertEqual(len(self.site.sessions), 0)
        self.assertEqual(len(self.lobby.service.seats.held), 1)

    def test_the_host_of_a_member_is_recorded(self) -> None:
        self.join()
        (member,) = [m for m in self.lobby.service.group.members.values() if m.name == "Alice"]
        self.assertEqual(member.host, HOST)


class ByteByByteTests(SayingTests):
    step = 1
