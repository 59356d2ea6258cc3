"""URLs of servers: good ones, and what is wrong with others."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from groupchat.client.url import ServerURL, parse_port, parse_url

SCHEMES = "a URL begins with udp://, tcp://, tls:// or quic://"
BRACKETS = "an IPv6 address stands in brackets: [::1]:12345"
HOST = "there is only a host and a port in a URL"
PORT = "a port is a number from 1 to 65535"


class WhereTest(TestCase):
    def test_good_urls(self) -> None:
        for url, where in {
            "udp://localhost:1": ServerURL("udp", "localhost", 1),
            "tcp://chat.example:65535": ServerURL("tcp", "chat.example", 65_535),
            "tls://chat.example": ServerURL("tls", "chat.example", 12_345),
            "TLS://Chat.Example/": ServerURL("tls", "Chat.Example", 12_345),
            "tcp://127.0.0.1:80/": ServerURL("tcp", "127.0.0.1", 80),
            "quic://chat.example": ServerURL("quic", "chat.example", 12_345),
            "tcp://host:": ServerURL("tcp", "host", 12_345),
            "tcp://[::1]:80": ServerURL("tcp", "::1", 80),
            "tcp://[fe80::1%eth0]": ServerURL("tcp", "fe80::1%eth0", 12_345),
            "udp://[fe80::1%25eth0]:80": ServerURL("udp", "fe80::1%eth0", 80),
            "tcp://[fe80::1%25]:80": ServerURL("tcp", "fe80::1%25", 80),
            "tcp://[fe80::1%2525]:80": ServerURL("tcp", "fe80::1%25", 80),
            "tcp://[fe80::1%2525x]:80": ServerURL("tcp", "fe80::1%25x", 80),
        }.items():
            self.assertEqual(parse_url(url), where)

    def test_a_bad_url_is_explained(self) -> None:
        for url, why in {
            "": SCHEMES,
            "host": SCHEMES,
            "host:80": SCHEMES,
            "://host": SCHEMES,
            "http://host:80": SCHEMES,
            "tcp:/host": SCHEMES,
            "tcp://": HOST,
            "tcp:///": HOST,
            "tcp://:80": HOST,
            "tcp://[]:80": HOST,
            "tcp://me@host:80": HOST,
            "tcp://host/room": HOST,
            "tcp://ho st": HOST,
            "tcp://host?a": HOST,
            "tcp://host#a": HOST,
            "tcp://::1": BRACKETS,
            "tcp://::1:80": BRACKETS,
            "tcp://[::1": BRACKETS,
            "tcp://[::1]80": BRACKETS,
            "tcp://host:0": PORT,
            "tcp://host:65536": PORT,
            "tcp://host:-1": PORT,
            "tcp://host:+1": PORT,
            "tcp://host:1_0": PORT,
            "tcp://host:\u0661": PORT,
            "tcp://host:80/room": PORT,
            "tcp://[::1]:port": PORT,
        }.items():
            self.assertEqual(str(self.assertRaises(ValueError, parse_url, url)), why, url)

    def test_it_is_written_as_it_is_read(self) -> None:
        for url in ("udp://host:1", "tls://[::1]:12345", "tcp://[fe80::1%eth0]:1", "tcp://[fe80::1%2525x]:1"):
            self.assertEqual(str(parse_url(url)), url)

    @given(st.integers(1, 65_535))
    def test_each_port(self, port: int) -> None:
        self.assertEqual(parse_port(str(port)), port)

    @given(st.text())
    def test_any_accepted_url_is_read_back(self, url: str) -> None:
        try:
            where = parse_url(url)
        except ValueError:
            return
        self.assertEqual(parse_url(str(where)), where)
