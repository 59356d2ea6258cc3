"""Link-local IPv6 addresses: their zones are kept by each transport."""

from __future__ import annotations

import socket

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.trial.unittest import TestCase

from groupchat.client.tcp import ZoneReceiver
from groupchat.client.udp import ZoneSocket
from groupchat.client.url import without_zone
from tests.chatting import Recorder
from tests.daemon import running
from tests.test_client import ProcessCase, run


def link_local() -> str:
    """Return a link-local address of this machine with its zone, or an empty string."""
    try:
        with open("/proc/net/if_inet6") as file:
            for row in file:
                digits, _, _, scope, _, interface = row.split()
                if scope == "20" and interface != "lo":
                    return f"{socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))}%{interface}"
    except OSError:
        pass
    return ""


class ZoneTest(TestCase):
    def test_the_zone_of_a_resolved_address_is_kept(self) -> None:
        recorder = Recorder()
        receiver = ZoneReceiver(recorder)
        for address in (
            IPv6Address("TCP", "fe80::1", 80, 0, 4),
            IPv6Address("TCP", "2001:db8::1", 80),
            IPv4Address("TCP", "192.0.2.1", 80),
        ):
            receiver.addressResolved(address)
        found = [address.host for _, address in recorder.told]
        self.assertEqual(found, ["fe80::1%4", "2001:db8::1", "192.0.2.1"])

    def test_a_socket_connects_to_a_literal_address(self) -> None:
        with ZoneSocket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
            opened.connect(("127.0.0.1", 9))
            self.assertEqual(opened.getpeername(), ("127.0.0.1", 9))

    def test_certificates_are_checked_without_the_zone(self) -> None:
        for host, checked in {"fe80::1%eth0": "fe80::1", "::1": "::1", "a%b": "a%b"}.items():
            self.assertEqual(without_zone(host), checked)


class LinkLocalTest(ProcessCase):
    def test_each_transport_reaches_a_link_local_address(self) -> None:
        address = link_local()
        if not address:
            self.skipTest("this machine has no link-local address")
        with running("--tcp", "0", "--db", ":memory:", "--interface", "::") as daemon:
            for written in (address, address.replace("%", "%25")):
                for scheme, port in (("tcp", daemon.tcp[0]), ("udp", daemon.port)):
                    done = run(f"{scheme}://[{written}]:{port}", "--name", "Zoe", typed=b"hello\n")
                    self.assertEqual((done.returncode, done.stderr), (0, b""), (scheme, written))
