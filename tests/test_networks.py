"""The addresses that limits count as one host, and the limits that do."""

from __future__ import annotations

from typing import Any

from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from groupchat.core.commands import Join
from groupchat.core.errors import IllegalMessage, NotNow, TooFast
from groupchat.core.events import Joined, Left
from groupchat.core.limits import BURST, Limits, Settings
from groupchat.core.networks import network_of, parsed
from groupchat.core.pace import Pace
from groupchat.core.rules import Rules
from groupchat.frontends.connections import Quota, Refused
from groupchat.frontends.web.guard import client_of
from tests.connections import SessionTestCase
from tests.lobby import Lobby

ONE, OTHER, ELSEWHERE = "2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1"
"""Two addresses of one /64, and one of the next."""


class NetworkTests(SynchronousTestCase):
    def test_ipv6_addresses_of_one_64_count_as_one(self) -> None:
        self.assertEqual(network_of(ONE), "2001:db8::/64")
        self.assertEqual(network_of(OTHER), network_of(ONE))
        self.assertNotEqual(network_of(ELSEWHERE), network_of(ONE))
        self.assertEqual(network_of("::1"), "::/64")

    def test_ipv4_addresses_count_each(self) -> None:
        for host in ("10.0.0.1", "127.0.0.1"):
            self.assertEqual(network_of(host), host)
            self.assertEqual(network_of(f"::ffff:{host}"), host)
        self.assertEqual(network_of("::ffff:a00:1"), "10.0.0.1")

    def test_networks_of_mapped_addresses_are_networks_of_ipv4(self) -> None:
        for network, expected in [
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::ffff:0:0/95", "::fffe:0:0/95"),
        ]:
            self.assertEqual(str(parsed(network)), expected)

    def test_zones_are_kept(self) -> None:
        self.assertEqual(network_of("fe80::1%2"), "fe80::/64%2")
        self.assertEqual(network_of("fe80::2%2"), "fe80::/64%2")
        self.assertNotEqual(network_of("fe80::1%3"), "fe80::/64%2")

    def test_anything_else_is_as_it_is(self) -> None:
        for host in ("local", "", "a:b", "::/64", "fe80::/64%2", "1:2:3:4:5:6:7:8:9"):
            self.assertEqual(network_of(host), host)

    def test_a_proxy_may_name_a_mapped_address(self) -> None:
        for forwarded in ("::ffff:10.0.0.1", "[::ffff:10.0.0.1]", "::ffff:a00:1", "10.0.0.1"):
            self.assertEqual(client_of(forwarded, "127.0.0.1"), "10.0.0.1")
        self.assertEqual(client_of("[2001:db8::1]", "127.0.0.1"), ONE)


class LimitTests(SessionTestCase):
    """Each limit for one host is reached by one network of IPv6, and does not concern the next."""

    def test_connections(self) -> None:
        lobby = Lobby(limits=Limits(max_per_host=2))

        def connect(host: str) -> Any:
            protocol = lobby.registry.connect(host)
            assert protocol is not None
            protocol.makeConnection(StringTransport())
            return protocol

        first = connect(ONE)
        connect(OTHER)
        self.assertIsInstance(connect("2001:db8::3"), Refused)
        self.assertNotIsInstance(connect(ELSEWHERE), Refused)
        first.connectionLost()
        self.assertNotIsInstance(connect("2001:db8::3"), Refused)

    def test_members(self) -> None:
        self.start(max_per_host=2)
        first = self.connection("Alice", host=ONE)
        self.connection("Bob", host=OTHER)
        third = self.connection(host="2001:db8::3")
        third.join("Carol")
        self.settle()
        self.assertEqual((third.words(), str(third.why[-1])), (["refused"], "Too many members have your address."))
        self.connection("Dora", host=ELSEWHERE)
        first.hang_up(hold=False)
        self.settle()
        third.join("Carol")
        self.settle()
        self.assertEqual(third.words(), ["answered"])
        self.assertEqual(self.group.per_host, {"2001:db8::/64": 2, "2001:db8:0:1::/64": 1})

    def test_guests_share_one_pace(self) -> None:
        pace = Pace(1)
        for number in range(BURST):
            pace.take_from(f"2001:db8::{number:x}", 0)
        with self.assertRaises(TooFast):
            pace.take_from(ONE, 0)
        pace.take_from(ELSEWHERE, 0)
        pace.forget(10 * BURST)
        self.assertEqual(pace._debts, {})

    def test_transfers_of_one_network_are_limited(self) -> None:
        quota = Quota("sent", 2)
        quota.take(ONE)
        quota.take(OTHER)
        with self.assertRaises(NotNow):
            quota.take("2001:db8::3")
        quota.take(ELSEWHERE)
        for host in (ONE, OTHER, ELSEWHERE):
            quota.give_back(host)
        self.assertEqual((len(quota), dict(quota._hosts)), (0, {}))

    def test_transfers_of_this_machine_are_not(self) -> None:
        quota = Quota("sent", 1)
        for host in ("127.0.0.1", "127.0.0.1", "127.9.9.9", "::1", "::1"):
            quota.take(host)
        for host in ("::ffff:10.0.0.1", "12.7.0.0", "1::1"):
            quota.take(host)
            with self.assertRaises(NotNow):
                quota.take(host)

    def test_a_neighbour_cannot_take_a_name(self) -> None:
        """--release asks for the same address, not for the same network."""
        group, rules = self.group, Rules(self.group, Settings(release=60))
        for event in rules.join(ONE, 5, Join("Zoe"), 0):
            group.apply(event)
        with self.assertRaises(IllegalMessage):
            rules.join(OTHER, 6, Join("Zoe"), 1e6)
        self.assertEqual([type(event) for event in rules.join(ONE, 6, Join("Zoe"), 1e6)], [Left, Joined])
