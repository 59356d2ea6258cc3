"""Cookies that others can plant: a key counts only if nobody else can know it.

A program on another port of the same host, a site of the same domain or anyone on an unencrypted network can set a
cookie in a member's browser, and so choose its key (session fixation).
"""

from __future__ import annotations

import json
from ipaddress import ip_network
from typing import Any

from groupchat.core.limits import Limits
from groupchat.frontends.web import guard
from groupchat.frontends.web.guard import TrustedHosts
from tests.web import KEY, Reply, WebTestCase

PLANTED = "ee" * 16
JOIN_ID = "3735928559-195948557-4276996862-2882343476"


def key_in(reply: Reply, name: str = "http-groupchat") -> str:
    """Return the key in the only cookie that an answer sets."""
    (cookie,) = reply.cookies
    found, _, rest = cookie.partition("=")
    assert found == name, cookie
    return rest.partition(";")[0]


class CookieTestCase(WebTestCase):
    def name(self, name: str, join_id: object = None, key: str = "", **headers: Any) -> Reply:
        body = {"name": name} | ({} if join_id is None else {"id": join_id})
        return self.post("/name", json.dumps(body), key, Content_Type="application/json", **headers)

    def who(self, key: str, **headers: Any) -> str | None:
        found: str | None = self.get("/me", key, **headers).json["name"]
        return found


class FixationTests(CookieTestCase):
    def test_a_planted_key_is_not_joined_with(self) -> None:
        reply = self.post("/name", "Alice", PLANTED)
        self.assertEqual(reply.status, 200)
        self.assertIsNone(self.who(PLANTED))
        self.assertEqual(self.who(key_in(reply)), "Alice")

    def test_a_key_of_the_server_is_not_joined_with_twice(self) -> None:
        key = key_in(self.post("/name", "Mallory", ""))
        self.post("/leave", "", key)
        reply = self.post("/name", "Alice", key)
        self.assertNotEqual(key_in(reply), key)
        self.assertIsNone(self.who(key))

    def test_no_key_is_given_before_a_name(self) -> None:
        for key in ("", PLANTED):
            for path in ("/", "/me", "/files"):
                self.assertEqual(self.get(path, key).cookies, [])
        self.assertEqual(self.name("Bob").cookies, [])  # the name is in use

    def test_the_planter_cannot_repeat_the_join(self) -> None:
        self.name("Alice", JOIN_ID, PLANTED)
        for reply in (self.post("/name", "Alice", PLANTED), self.name("Alice", JOIN_ID[:-1], PLANTED)):
            self.refused(reply, 409, "in use")
            self.assertEqual(reply.cookies, [])

    def test_a_seat_is_not_joined_with_through_its_cookie(self) -> None:
        mallory = key_in(self.post("/name", "Mallory", ""))
        reply = self.name("Alice", JOIN_ID, mallory)  # planted after the page has asked for a name
        self.assertNotEqual(key_in(reply), mallory)
        self.assertEqual(self.who(mallory), "Mallory")

    def test_a_member_renames_itself_with_its_cookie(self) -> None:
        key = key_in(self.name("Alice", JOIN_ID))
        reply = self.name("Ali", key=key)
        self.assertEqual((reply.status, reply.cookies, self.who(key)), (200, [], "Ali"))


class ComingBackTests(CookieTestCase):
    """The one exception: the name that is reserved for the key of a cookie is taken with that key."""

    def setUp(self) -> None:
        super().setUp()
        self.key = key_in(self.name("Alice", JOIN_ID))
        me = self.get("/me", self.key).json
        self.member_id, self.since = me["id"], me["since"]
        self.post("/messages", "hi", self.key)
        self.pass_time(302)
        self.assertIsNone(self.who(self.key))

    def test_the_reserved_name_is_taken_with_the_cookie(self) -> None:
        for body in ("Alice", "alice"):
            reply = self.post("/name", body, self.key)
            self.assertEqual((reply.status, reply.cookies, reply.json["id"]), (200, [], self.member_id))
        self.assertEqual(self.who(self.key), "alice")

    def test_the_ids_of_texts_begin_anew_and_since_tells(self) -> None:
        before = self.since
        self.post("/name", "Alice", self.key)
        me = self.get("/me", self.key).json
        self.assertEqual((me["id"], me["last_id"]), (self.member_id, 0))
        self.assertGreater(me["since"], before)

    def test_it_may_be_repeated_with_its_id(self) -> None:
        for _ in range(2):
            reply = self.name("Alice", JOIN_ID + "2", self.key)
            self.assertEqual((reply.status, reply.cookies, reply.json["id"]), (200, [], self.member_id))
        self.assertEqual(self.told().count("Alice has joined"), 2)  # at first, and when it came back

    def test_any_other_name_is_taken_with_a_new_key(self) -> None:
        reply = self.name("Ally", JOIN_ID + "2", self.key)
        self.assertNotEqual(key_in(reply), self.key)
        self.assertNotEqual(reply.json["id"], self.member_id)
        self.assertIsNone(self.who(self.key))

    def test_another_cookie_cannot_take_it(self) -> None:
        for key in ("", PLANTED):
            self.refused(self.name("Alice", JOIN_ID + "2", key), 409, "reserved")

    def test_who_pressed_leave_comes_back_with_a_new_key(self) -> None:
        self.post("/name", "Alice", self.key)
        self.post("/leave", "", self.key)
        self.assertNotEqual(key_in(self.name("Alice", JOIN_ID + "2", self.key)), self.key)

    def test_a_script_comes_back_with_its_key(self) -> None:
        self.assertEqual(self.join("Alice", self.key), self.member_id)


class AuthorTests(CookieTestCase):
    """A cookie is planted while the page is open: what is written there is not said by the seat of the planter."""

    def say(self, key: str, **body: object) -> Reply:
        return self.post("/messages", json.dumps({"text": "hi", **body}), key, Content_Type="application/json")

    def test_a_text_is_said_by_its_author_only(self) -> None:
        alice, mallory = (self.name(name) for name in ("Alice", "Mallory"))
        self.assertEqual(self.say(key_in(alice), **{"as": alice.json["id"]}).status, 200)
        for more in (dict[str, str](), {"to": "Bob"}):
            self.refused(self.say(key_in(mallory), **{"as": alice.json["id"]}, **more), 403, "another member")
        others: list[object] = ["", "0", 0, [], "Alice", mallory.json["id"] + "0", None]
        for wrong in others:
            self.refused(self.say(key_in(mallory), **{"as": wrong}), 403, "another member")
        body = json.dumps({"name": "Ali", "as": alice.json["id"]})
        self.refused(self.post("/name", body, key_in(mallory), Content_Type="application/json"), 403, "another member")
        self.assertEqual(self.post("/name", body, key_in(alice), Content_Type="application/json").status, 200)
        lines = ["Alice has joined", "Mallory has joined", "Alice: hi", "Alice changed his name to Ali"]
        self.assertEqual(self.told(), lines)

    def test_a_guest_is_not_the_author_that_a_page_means(self) -> None:
        body = json.dumps({"text": "hi", "as": "1"})
        self.refused(self.post("/messages?name=cron", body, "", Content_Type="application/json"), 403)
        self.assertEqual(self.told(), [])


class PlainTests(CookieTestCase):
    """A browser that has a cookie from TLS takes no other of that name without TLS."""

    def test_the_cookies_with_and_without_tls_have_different_names(self) -> None:
        names = {guard.own_name(name, secure=secure) for name in ("groupchat", "trust") for secure in (True, False)}
        self.assertEqual(len(names | {"groupchat", "trust"}), 6)
        self.assertEqual(self.who(key_in(self.post("/name", "Alice", ""))), "Alice")

    def test_the_cookie_of_an_earlier_version_is_read(self) -> None:
        old, new = (key_in(self.post("/name", name, "")) for name in ("Alice", "Carol"))
        cookies = {f"groupchat={old}": "Alice", f"groupchat={old}; http-groupchat={new}": "Carol"}
        for cookie, name in cookies.items():
            self.assertEqual(self.ask("GET", "/me", Cookie=cookie).json["name"], name)

    def test_a_browser_that_keeps_no_cookie_is_told_its_key(self) -> None:
        reply = self.name("Alice", JOIN_ID)
        self.assertEqual(reply.json["key"], key_in(reply))
        self.assertEqual(self.who("", Authorization=f"Bearer {reply.json['key']}"), "Alice")
        self.assertNotIn("key", self.name("Ali", key=reply.json["key"]).json)
        self.assertNotIn("key", self.name("Cron", Authorization=f"Bearer {KEY}").json)


class RepeatTests(CookieTestCase):
    """The answer to a join is lost, and its cookie with it."""

    def test_a_repeat_with_the_same_id_gives_the_same_key(self) -> None:
        first = self.name("John  Doe", JOIN_ID)
        again = self.name("John  Doe", JOIN_ID, PLANTED)
        self.assertEqual((again.status, again.json["id"]), (200, first.json["id"]))
        self.assertEqual(key_in(again), key_in(first))
        self.assertEqual(self.told(), ["John Doe has joined"])

    def test_a_repeat_before_the_answer_joins_once(self) -> None:
        body = json.dumps({"name": "Alice", "id": JOIN_ID})
        lines = [self.request("POST", "/name", body, Content_Type="application/json") for _ in range(2)]
        for line in lines:
            self.assertIn(b"200 OK", line.heard())
        self.assertEqual(self.told(), ["Alice has joined"])

    def test_a_repeat_with_another_name_renames(self) -> None:
        key = key_in(self.name("Alice", JOIN_ID))
        self.assertEqual(key_in(self.name("Ali", JOIN_ID)), key)
        self.assertEqual(self.told(), ["Alice has joined", "Alice changed his name to Ali"])

    def test_other_ids_give_other_keys(self) -> None:
        keys = {key_in(self.name(f"Member {n}", JOIN_ID + str(n))) for n in range(3)}
        self.assertEqual(len(keys), 3)
        for key in keys:
            self.assertRegex(key, "^[0-9a-f]{32}$")
            self.assertNotIn(key, JOIN_ID)

    def test_an_id_that_can_be_guessed_is_refused(self) -> None:
        for wrong in ["", "7", 7, "x" * 15, "x" * 101, "ü" * 20, "x x" * 10, [JOIN_ID], {}, True]:
            self.refused(self.name("Alice", wrong), 400, "random")
        self.assertEqual(self.told(), [])


class ScriptTests(CookieTestCase):
    auth = f"Bearer {KEY}"

    def test_a_script_joins_with_its_own_key(self) -> None:
        for _ in range(2):
            reply = self.name("Cron", JOIN_ID, Authorization=self.auth)
            self.assertEqual((reply.status, reply.cookies), (200, []))
        self.assertEqual(self.get("/me", "", Authorization=self.auth).json["name"], "Cron")
        self.assertEqual(self.told(), ["Cron has joined"])

    def test_a_script_is_not_who_a_cookie_says(self) -> None:
        key = key_in(self.name("Alice", JOIN_ID))
        self.assertIsNone(self.who(key, Authorization=self.auth))
        for wrong in ("x", "0" * 31, "é" * 32):
            self.assertIsNone(self.who(key, Authorization=f"Bearer {wrong}"))
            self.refused(self.name("Cron", Authorization=f"Bearer {wrong}"), 400, "32 hex digits")


class TLSTests(CookieTestCase):
    """Over TLS a browser takes a cookie with the prefix `__Host-` from this very host only."""

    hosts = TrustedHosts(proxies=(ip_network("10.0.0.7/32"),))
    name_of_cookie = "__Host-groupchat"

    def over_tls(self, path: str, cookie: str = "", method: str = "GET", body: str | None = None) -> Reply:
        return self.ask(method, path, body, X_Forwarded_Proto="https", Cookie=cookie)

    def who_is(self, cookie: str) -> str | None:
        found: str | None = self.over_tls("/me", cookie).json["name"]
        return found

    def test_the_cookie_has_the_prefix(self) -> None:
        reply = self.over_tls("/name", "", "POST", "Alice")
        (cookie,) = reply.cookies
        self.assertRegex(cookie, "^__Host-groupchat=[0-9a-f]{32}; Path=/; Max-Age=31536000; HttpOnly; ")
        self.assertTrue(cookie.endswith("; SameSite=Strict; Secure"))
        self.assertEqual(self.who_is(cookie.partition(";")[0]), "Alice")

    def test_the_cookie_is_not_read_without_tls(self) -> None:
        key = key_in(self.over_tls("/name", "", "POST", "Alice"), self.name_of_cookie)
        self.assertIsNone(self.ask("GET", "/me", Cookie=f"__Host-groupchat={key}").json["name"])

    def test_an_upgrade_loses_no_seat(self) -> None:
        key = key_in(self.post("/name", "Alice", ""))
        for path in ("/me", "/history", "/files"):
            reply = self.over_tls(path, f"groupchat={key}")
            self.assertEqual(reply.status, 200, path)
            new, old = reply.cookies
            self.assertTrue(new.startswith(f"__Host-groupchat={key}; "), new)
            self.assertTrue(old.startswith("groupchat=; Path=/; Max-Age=0"), old)
        self.assertEqual(self.over_tls("/me", f"__Host-groupchat={key}").cookies, [])

    def test_the_new_cookie_goes_before_the_old(self) -> None:
        alice, mallory = (key_in(self.post("/name", name, "")) for name in ("Alice", "Mallory"))
        for order in ("groupchat={1}; __Host-groupchat={0}", "__Host-groupchat={0}; groupchat={1}"):
            reply = self.over_tls("/me", order.format(alice, mallory))
            self.assertEqual((reply.json["name"], reply.cookies), ("Alice", []))

    def test_the_old_cookie_is_not_read_after_an_upgrade(self) -> None:
        mallory = key_in(self.post("/name", "Mallory", ""))
        for _ in range(4):
            self.pass_time(100)
            self.who(mallory)  # it is still held
        self.assertIsNone(self.who_is(f"groupchat={mallory}"))
        self.assertEqual(self.who(mallory), "Mallory")

    def test_an_old_cookie_without_a_seat_is_not_replaced(self) -> None:
        self.assertEqual(self.over_tls("/me", f"groupchat={PLANTED}").cookies, [])

    def test_joining_replaces_an_old_cookie(self) -> None:
        old = key_in(self.post("/name", "Mallory", ""))
        body = json.dumps({"name": "Alice", "id": JOIN_ID})
        reply = self.ask(
            *("POST", "/name", body),
            X_Forwarded_Proto="https",
            Cookie=f"groupchat={old}",
            Content_Type="application/json",
        )
        last = [cookie for cookie in reply.cookies if cookie.startswith("__Host-")][-1]
        self.assertEqual(self.who_is(last.partition(";")[0]), "Alice")

    def test_names_that_only_look_like_the_prefix_are_not_read(self) -> None:
        key = key_in(self.over_tls("/name", "", "POST", "Alice"), self.name_of_cookie)
        for blank in ("\x85", "\xa0", "\x1c", "\x0b", "\xe2\x80\x80", "$Path=/,"):
            self.assertIsNone(self.who_is(f"x=y; {blank}__Host-groupchat={key}"), repr(blank))
        for odd in ("__host-groupchat", "__Host-Groupchat", "__Host-groupchat ", "=__Host-groupchat"):
            self.assertIsNone(self.who_is(f"{odd}={key}"), odd)
        for neighbour in ('a="b; ', "a=b;c;;", "{}=[]; ", '"=; '):
            self.assertEqual(self.who_is(f"{neighbour}; __Host-groupchat={key}; z"), "Alice", neighbour)


class PasswordOverTLSTests(CookieTestCase):
    limits = Limits(password=b"open sesame")
    hosts = TLSTests.hosts

    def test_the_cookie_of_the_password_has_the_prefix(self) -> None:
        (cookie,) = self.post("/password", "open sesame", X_Forwarded_Proto="https").cookies
        self.assertRegex(cookie, "^__Host-groupchat-trust-.*; Secure$")
        given = cookie.partition(";")[0]
        for over_tls in (given, given.removeprefix("__Host-"), f"{given.partition('=')[0]}=x; {given[7:]}"):
            self.assertEqual(self.ask("GET", "/me", Cookie=over_tls, X_Forwarded_Proto="https").status, 200, over_tls)
        self.refused(self.ask("GET", "/me", Cookie=given), 401)
