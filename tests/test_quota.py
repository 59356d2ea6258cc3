"""The space that files take on the shelf, of each owner and of each host."""

from __future__ import annotations

import random

from twisted.trial.unittest import SynchronousTestCase

from groupchat.core.limits import MIN_FILE_SPACE
from groupchat.core.networks import network_of
from groupchat.files import FileOwner
from groupchat.files.quota import Account, Ledger, Tally


class LedgerTests(SynchronousTestCase):
    def test_a_ledger_agrees_with_the_sum_of_all_files(self) -> None:
        random.seed(17)
        members = {1, 2, 3}
        ledger = Ledger(members.__contains__)
        files: list[tuple[FileOwner | None, int]] = []

        def account(owner: FileOwner) -> Account:
            return owner.member if owner.member in members else owner.host

        for step in range(3_000):
            if files and random.random() < 0.45 + 0.1 * (step > 2_000):
                ledger.remove(*files.pop(random.randrange(len(files))))
            else:
                owner = FileOwner(random.randrange(6), random.choice(["a", "b", "c"]))
                files.append((random.choice([owner, owner, None]), random.choice([0, 1, 4096, 10_000])))
                ledger.add(*files[-1])
            if step % 500 == 0:
                members ^= {random.randrange(1, 6)}
            spaces = [(owner, max(size, MIN_FILE_SPACE)) for owner, size in files]
            self.assertEqual(ledger.total, Tally(len(files), sum(space for _, space in spaces)))
            for host in "abc":
                own = [space for owner, space in spaces if owner is not None and owner.host == host]
                self.assertEqual(ledger.of_host(host), Tally(len(own), sum(own)))
            accounts: list[Account] = [*members, "a", "b", "c"]
            for one in accounts:
                own = [space for owner, space in spaces if owner is not None and account(owner) == one]
                self.assertEqual(ledger.of(one), Tally(len(own), sum(own)), one)

    def test_a_ledger_forgets_owners_without_files(self) -> None:
        ledger = Ledger(lambda member: True)
        for number in range(10):
            ledger.add(FileOwner(number, f"10.0.0.{number}"), 5)
            ledger.remove(FileOwner(number, f"10.0.0.{number}"), 5)
        self.assertEqual((ledger.total, ledger._members, ledger._hosts), (Tally(), {}, {}))

    def test_an_ipv6_network_counts_as_one_host(self) -> None:
        self.assertEqual(network_of("2001:db8::1"), network_of("2001:db8::ffff:0:0:1"))
        self.assertNotEqual(network_of("2001:db8::1"), network_of("2001:db8:0:1::1"))
        self.assertEqual(network_of("fe80::1%eth0"), network_of("fe80::2%eth0"))
        self.assertNotEqual(network_of("192.0.2.1"), network_of("192.0.2.2"))
        self.assertEqual(network_of("no: address"), "no: address")
