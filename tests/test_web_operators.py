"""Operators over HTTP: their password, their commands, and what becomes of those who are removed or banned."""

from __future__ import annotations

import json

from groupchat.core.commands import Ban, Erase, OperatorCommand, Remove
from groupchat.core.limits import PASSWORD_CHECKS, Limits
from groupchat.frontends.web.site import MAX_ERASURES
from tests.lobby import OTHER_KEY, Lobby
from tests.web import HOST, KEY, ROUTES, Reply, WebTestCase, parse

CAROL = OTHER_KEY
BANNED = "You may not be in this group"


class OperatorTestCase(WebTestCase):
    """A site with operators: Alice is one, Carol and Bob are not."""

    limits = Limits(operators=(b":sesame", b"dave:open"))

    def setUp(self) -> None:
        super().setUp()
        self.alice = self.join()
        self.join("Carol", CAROL)
        self.assertEqual(self.post("/operator", "sesame").status, 204)
        self.told()

    def moderate(self, line: str, key: str = KEY, **more: str) -> Reply:
        return self.post("/moderation", json.dumps({"line": line, **more}), key, Content_Type="application/json")

    def done(self, line: str, **more: str) -> str:
        """Return the answer to an operator's command."""
        reply = self.moderate(line, **more)
        self.assertEqual(reply.status, 200, reply.body)
        return str(reply.json["text"])

    def operate(self, command: OperatorCommand) -> None:
        command.by = "root"
        self.lobby.service.operate(command)
        self.lobby.settle()


class PasswordTests(OperatorTestCase):
    def test_a_password_makes_an_operator_until_delete(self) -> None:
        self.assertEqual([self.get("/me", key).json["operator"] for key in (KEY, CAROL)], [True, False])
        marked = {one["name"]: one["operator"] for one in self.get("/members").json["members"]}
        self.assertEqual(marked, {"Bob": False, "Alice": True, "Carol": False})
        self.assertEqual(self.ask("DELETE", "/operator", key=KEY).status, 204)
        self.assertFalse(self.get("/me").json["operator"])
        self.refused(self.moderate("/remove Bob"), 403, "Only an operator")

    def test_a_wrong_password_is_refused(self) -> None:
        for body in ("nonsense", "", "open", "dave:open", "\u00e9"):
            self.refused(self.post("/operator", body, CAROL), 403, "not the password of an operator")
        self.refused(self.moderate("/remove Bob", CAROL), 403, "Only an operator")

    def test_a_password_with_a_name_is_for_that_member(self) -> None:
        self.join("DAVE", CAROL)
        self.assertEqual(self.post("/operator", "open", CAROL).status, 204)

    def test_who_is_no_member_is_no_operator(self) -> None:
        for reply in (
            self.post("/operator", "sesame", ""),
            self.ask("DELETE", "/operator"),
            self.moderate("/ban Bob", ""),
        ):
            self.refused(reply, 403, "join first")

    def test_without_passwords_nobody_becomes_one(self) -> None:
        self.open(Lobby())
        self.join()
        self.refused(self.post("/operator", "sesame"), 403, "No password makes anybody an operator")

    def test_guesses_are_limited_for_a_host(self) -> None:
        guesses = [self.post("/operator", "guess", CAROL).status for _ in range(PASSWORD_CHECKS[0])]
        self.assertEqual(set(guesses), {403})
        late = self.request("POST", "/operator", "sesame", key=CAROL)
        self.assertEqual(late.heard(), b"")
        self.pass_time(1 / PASSWORD_CHECKS[1])
        self.assertIn(b" 204 ", late.heard())

    def test_a_check_ends_with_its_connection(self) -> None:
        for _ in range(PASSWORD_CHECKS[0]):
            self.post("/operator", "guess", CAROL)
        self.request("POST", "/operator", "sesame", key=CAROL).lose()
        self.pass_time(10)
        self.assertFalse(self.get("/me", CAROL).json["operator"])

    def test_the_page_of_another_site_makes_nobody_one(self) -> None:
        for path, body in (("/operator", "sesame"), ("/moderation", "/remove Bob")):
            self.refused(self.post(path, body, Origin="http://evil.example"), 403, "another site")
        self.refused(self.ask("DELETE", "/operator", key=KEY, Sec_Fetch_Site="cross-site"), 403, "another site")
        self.assertTrue(self.get("/me").json["operator"])

    def test_no_text_tells_a_password(self) -> None:
        for text in ("/operator sesame", "  /Operator sesame", "\u3000/operator"):
            self.refused(self.post("/messages", text), 409, "it would tell everybody a password")
            self.refused(self.post("/messages?name=cron", text, ""), 409, "it would tell everybody a password")
        self.assertEqual(self.told(), [])


class CommandTests(OperatorTestCase):
    def test_a_line_is_a_command(self) -> None:
        self.assertEqual(self.post("/moderation", "/remove Carol: spam").json, {"text": ""})
        self.assertEqual(self.told(), ["* Carol was removed"])
        self.assertEqual(self.done("/mute Bob noise"), "Bob may only read now, until /unmute Bob.")
        self.assertEqual(self.lobby.ask(1, "2 hi"), "Illegal message")
        self.assertTrue(self.get("/members").json["members"][0]["muted"])
        self.assertEqual(self.done("/unmute Bob"), "Bob may write again.")
        self.assertEqual(self.done("/ban Eve: 1h"), "Eve is banned, until /unban Eve or the time is over.")
        self.assertEqual(self.done("/unban Eve"), "Eve is no longer banned.")
        self.done("/topic Cats")
        self.assertEqual(self.told(), ["* The topic is: Cats"])
        self.assertEqual(self.get("/me").json["topic"], "Cats")

    def test_a_line_may_have_its_reason_in_it(self) -> None:
        self.done("/mute Bob noise")
        (mute,) = self.lobby.service.group.moderation.mutes.values()
        self.assertEqual((mute.shown, mute.by, mute.why), ("Bob", "Alice", "noise"))

    def test_why_is_not_taken_for_a_time(self) -> None:
        self.assertEqual(self.done("/ban Eve:", why="1d of spam"), "Eve is banned, until /unban Eve.")
        (ban,) = self.lobby.service.group.moderation.bans.values()
        self.assertEqual((ban.shown, ban.by, ban.why), ("Eve", "Alice", "1d of spam"))

    def test_what_is_no_command_is_refused(self) -> None:
        for line in ("", "hello", "/operator sesame", "/removeBob", "/quit"):
            self.refused(self.moderate(line), 400, "A command begins with")
        for line in ("/remove", "/remove Nobody", "/erase x", "/erase 900", "/topic", "/ban 0.0.0.0/0", "/unban Eve"):
            self.refused(self.moderate(line), 409)
        for body in ({}, {"line": 1}, {"line": "/mute Bob", "why": 7}, {"line": "\ud800"}):
            self.refused(self.post("/moderation", json.dumps(body), Content_Type="application/json"), 400)
        self.refused(self.moderate("/mute Bob", why="\u202e"), 409)
        self.assertEqual(self.told(), [])

    def test_the_cookie_of_another_member_does_nothing(self) -> None:
        other = str(self.get("/me", CAROL).json["id"])
        self.refused(self.moderate("/remove Bob", **{"as": other}), 403, "another member")
        body = json.dumps({"password": "sesame", "as": self.alice})
        self.refused(self.post("/operator", body, CAROL, Content_Type="application/json"), 403, "another member")
        self.assertEqual(self.done("/remove Bob", **{"as": self.alice}), "")

    def test_erase_is_answered_when_no_file_has_the_text(self) -> None:
        self.lobby.ask(1, "2 secret")
        head = self.get("/me").json["head"]
        self.assertEqual(self.done(f"/erase {head}"), "Erased: 1 text. The daemon has no file with it any more.")
        (line,) = self.get(f"/history?after={head - 1}").json["lines"]
        self.assertEqual((line["kind"], line["text"]), ("server", "a line was removed"))


class ErasedTests(OperatorTestCase):
    def test_a_page_that_was_away_is_told_what_was_erased(self) -> None:
        self.lobby.ask(1, "2 secret")
        head = self.get("/me").json["head"]
        self.operate(Erase(head, head))
        (block,) = self.events(f"/events?after={head}").blocks()[1:]
        self.assertEqual(block["event"], "erased")
        self.assertEqual(json.loads(block["data"]), {"first": head, "last": head, "by": None})
        self.assertEqual(
            [block.get("event") for block in self.events(f"/events?after={head - 1}").blocks()], [None, None]
        )

    def test_only_the_last_erasures_are_repeated(self) -> None:
        self.site.erasures.extend([(1, b"event: erased\n\n")] * 2 * MAX_ERASURES)
        self.assertEqual(len(self.events().blocks()), 1 + MAX_ERASURES)


class RemovedTests(OperatorTestCase):
    def test_a_removed_member_is_told_why_at_every_request(self) -> None:
        self.operate(Remove("Carol", why="spam"))
        for path, body in (("/messages", "hi"), ("/name", "Carol"), ("/leave", ""), ("/moderation", "/ban Bob")):
            reply = self.post(path, body, CAROL)
            self.refused(reply, 403, "spam")
            self.assertIs(reply.json["excluded"], True)
        for path in ("/me", "/members", "/history", "/events", "/files"):
            self.refused(self.get(path, CAROL), 403, "spam")
        self.assertEqual([self.get(path, CAROL).status for path in ("/", "/app.js", "/healthz")], [200] * 3)
        self.pass_time(601)
        self.assertEqual(self.get("/me", CAROL).status, 200)

    def test_a_request_under_way_is_told_why(self) -> None:
        stream = self.events(key=CAROL)
        self.lobby.service.operate(Remove("Carol", by="root", why="spam"))
        reply, _ = parse(self.request("POST", "/messages", "hi", key=CAROL).heard())
        self.refused(reply, 403, "You were removed: spam")
        self.assertTrue(stream.line.is_over)


class BannedTests(OperatorTestCase):
    def test_a_banned_address_is_told_why_on_every_route(self) -> None:
        self.operate(Ban(HOST, why="noise", sure=True))
        for path, methods in ROUTES.items():
            for method in methods:
                name = path.replace("*", "x")
                for key in (KEY, ""):
                    reply = self.ask(method, name, b"" if method in ("POST", "PUT") else None, key=key)
                    if path == "/healthz":
                        self.assertEqual(reply.status, 200)
                    elif method == "HEAD":
                        self.assertEqual(reply.status, 403)
                    else:
                        self.refused(reply, 403, "noise")
        self.refused(self.post("/messages?name=cron", "hi", ""), 403, f"{BANNED}: noise")
        self.assertIn(b"noise", self.ask("GET", "/", Accept="text/html").body)

    def test_the_stream_of_a_banned_address_ends(self) -> None:
        events = self.events()
        self.operate(Ban(HOST, why="noise", sure=True))
        self.pass_time(1)
        self.assertEqual(events.blocks()[-1], {"event": "removed", "data": '"You were removed: noise"'})
        self.assertTrue(events.line.is_over)

    def test_other_addresses_are_answered(self) -> None:
        self.operate(Ban("192.0.2.0/24"))
        self.assertEqual(self.get("/me").status, 200)

    def test_what_is_uploaded_meanwhile_is_not_shared(self) -> None:
        line = self.line()
        head = f"PUT /files/a.txt HTTP/1.1\r\nHost: localhost\r\nCookie: groupchat={CAROL}\r\nContent-Length: 3\r\n\r\n"
        line.send(head.encode() + b"ab")
        self.operate(Ban(HOST, why="noise", sure=True))
        self.pass_time(1)
        line.send(b"c")
        self.refused(parse(line.heard())[0], 403, f"{BANNED}: noise")
        self.assertEqual(self.shelf.files, {})
