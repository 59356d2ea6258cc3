"""Names that look alike are one name, and no name looks like a mark or a phrase that is reserved."""

from __future__ import annotations

import subprocess
import sys
import unicodedata
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase, TestCase

import groupchat
from groupchat.core import confusables
from groupchat.core.commands import Join, Rename, SayAsGuest, Share, Whisper
from groupchat.core.errors import IllegalMessage, Unavailable
from groupchat.core.events import Joined, Left, Renamed
from groupchat.core.group import Group, Member
from groupchat.core.limits import Settings
from groupchat.core.names import nickname, normalised
from groupchat.core.rules import Rules
from groupchat.core.skeletons import skeleton, skeletons
from tests.lobby import Lobby
from tests.logs import FailingLog
from tests.node import Node
from tools.confusables import module, read

ILLEGAL = IllegalMessage.reply
NOW = 100_000.0

IGNORABLE = (
    *(0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFEFF, 0xFFA0),
    *(*range(0x180B, 0x1810), *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070)),
    *(*range(0xFE00, 0xFE10), *range(0xFFF0, 0xFFF9), *range(0x1BCA0, 0x1BCA4), *range(0x1D173, 0x1D17B)),
    *range(0xE0000, 0xE1000),
)
"""Default_Ignorable_Code_Point of Unicode 17."""

ALIKE = [
    ("Bob", "Bоb"),  # Cyrillic o
    ("Bob", "В\u043eb"),  # Cyrillic capital ve
    ("Bill", "BiIl"),  # a capital i
    ("Alice", "\u0391lice"),  # Greek capital alpha
    ("Alice", "АLICE"),  # Cyrillic a, and another case
    ("Tom", "Torn"),
    ("user1", "userl"),
    ("раура", "paypa"),
    ("O2x", "02x"),
    ("Zoë", "Zоë"),
    ("ｱ", "ア"),
    ("O'Neil", "O’Neil"),
    ("a-b", "a\u2010b"),
]

ODD = [
    *("李雷", "мария", "علي", "नमस्ते", "ノア", "アノン", "丿乀", "रामः", "દુઃખ", "ෆා", "ยุ่น", "한글", "🦊 fox", "½ pint"),
    *("O'Neil", "D’Angelo", "C++", "x_1", "100%", "a;b", "Måns", "Nguyễn Văn Ơn", "İpek", "אבג", "m", "❤"),
]

COLONS = "\u0589\u05c3\u02d0\u02f8\u0703\u0704\u1361\u1365\u16ec\u1803\u1804\u1809\u205a\u205d\u2236\u2237\u2806\u2982"
MORE_COLONS = "\ua4fd\ua6f4\ua789\ufbbd\ufe13\ufe55\uff1a"


def refuses(name: str) -> bool:
    try:
        nickname(name)
    except IllegalMessage:
        return True
    return False


class SkeletonTests(TestCase):
    def test_the_examples_of_uts_39(self) -> None:
        for one, other in [
            ("paypal", "pаypаl"),
            ("scope", "ѕсоре"),
            ("toys-я-us", "toys-ᴙ-us"),
            ("1", "l"),
            ("ǉeto", "ljeto"),
            ("\u0627\u0654", "\u0623"),
            ("rn", "m"),
            ("so\u0337s", "so\u0338s"),
            ("\U0001d41bob", "bob"),
            ("b\u200dob", "bob"),
        ]:
            self.assertEqual(skeleton(one), skeleton(other), (one, other))
        for one, other in [("a", "b"), ("bob", "Bob"), ("ノ", "ア"), ("6", "8")]:
            self.assertNotEqual(skeleton(one), skeleton(other), (one, other))

    @given(st.text(max_size=64))
    def test_a_skeleton_is_its_own(self, text: str) -> None:
        self.assertEqual(skeleton(skeleton(text)), skeleton(text))
        self.assertEqual(skeleton(unicodedata.normalize("NFD", text)), skeleton(text))

    def test_no_prototype_has_another(self) -> None:
        codes = {ord(character) for prototype in confusables.TABLE.values() for character in prototype}
        self.assertEqual([code for code in codes if confusables.TABLE.get(code, chr(code)) != chr(code)], [])

    def test_names_that_differ_in_a_letter_are_two(self) -> None:
        for one, other in [("Ian", "Lan"), ("Ida", "Lda"), ("Alice", "Alicia"), ("n1", "n2"), ("Bob", "bób")]:
            names = [nickname(name) for name in (one, other)]
            first, second = ({*skeletons(name.shown, name.key)} for name in names)
            self.assertFalse(first & second, (one, other))


class TableTests(TestCase):
    def test_the_table_is_what_the_tool_makes(self) -> None:
        made = module(confusables.TABLE, confusables.VERSION, confusables.SHA256)
        self.assertEqual(Path(confusables.__file__).read_text(), made)
        self.assertEqual((confusables.VERSION, len(confusables.TABLE)), ("17.0.0", 6565))
        self.assertRegex(confusables.SHA256, "^[0-9a-f]{64}$")

    def test_the_tool_reads_what_unicode_publishes(self) -> None:
        text = "# Version: 1\n0031 ;\t006C ;\tMA\t# one\n006D ;\t0072 006E ;\tMA\t#* m\n\n# total: 2\n"
        self.assertEqual(read(text), {0x31: "l", 0x6D: "rn"})
        self.assertIn("006C 0031; 0072+006E 006D\n", module(read(text), "1", "0"))
        self.assertRaises(ValueError, read, text.replace("# total: 2", "# total: 3"))
        self.assertRaises(ValueError, read, text.replace("# total: 2", ""))

    def test_the_licence_is_there(self) -> None:
        licence = (Path(groupchat.__file__).parent.parent / "LICENSE.unicode").read_text()
        self.assertIn("UNICODE LICENSE V3", licence)
        self.assertIn("LICENSE.unicode", Path(confusables.__file__).read_text())

    def test_the_client_does_not_load_the_table(self) -> None:
        code = (
            "import sys, groupchat.client.cli, groupchat.client.run; print('groupchat.core.confusables' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
        self.assertEqual(done.stdout, "False\n", done.stderr)


class NameTests(TestCase):
    def test_what_looks_like_a_mark_is_refused(self) -> None:
        for colon in COLONS + MORE_COLONS:
            for name in (f"Bob{colon} the password is 1234", f"Bob{colon}", f"{colon}Bob"):
                self.assertTrue(refuses(name), ascii(name))
        for mark in "‚،⹁ꓹ❨❩❪❫⟮⟯⦅⦆⸨〔〕﴾﴿、٫":
            self.assertTrue(refuses(f"Bob {mark}120 more"), ascii(mark))
        for mark in "∕⁄⟋⧸ⳇ∗⁎٭✱✳⁑♯⌗":
            self.assertTrue(refuses(f"{mark}Bob"), ascii(mark))
            self.assertFalse(refuses(f"Bob{mark}"), ascii(mark))

    def test_a_dot_above_a_dot_is_no_colon(self) -> None:
        for name in ["Bob.\u0307 hi", "Bob\u00b7\u0323", "Bob \u0323\u0307 hi", "Bob\u2219\u0307", "\u0301Bob", "´Bob"]:
            self.assertTrue(refuses(name), ascii(name))
        self.assertFalse(refuses("I\u0307\u0323pek"))

    def test_what_looks_like_a_phrase_is_refused(self) -> None:
        for name in [
            *(
                "Bob has jоined",
                "Bob hаs joined",
                "Bob HAS JОINED",
                "Bob has joıned",
                "Bob НAS JOINED",
                "Bob has joinеd",
            ),
            *("Bob has Ieft the group", "Bob HAS Ieft the group", "Bob has 1eft the gr0up", "has left thе group"),
            *("Bob changed his narne to", "Bob changed hіs name to X", "Bob changed his name t0"),
            *("Al shаred x", "Al ѕhared x", "Al SHАRED x"),
            *("сlose", "cIose", "CLОSE", "c1ose", "ＣＬＯＳＥ"),
            *("lllegal message", "Illegаl message", "IIIegal message", "illegal rnessage", "1llegal message"),
        ]:
            self.assertTrue(refuses(name), ascii(name))

    def test_invisible_and_blank_characters_are_refused(self) -> None:
        blank = (0x2800, 0x2D7F, 0xFFFC, 0x1107F, 0x13441, 0x13442, 0x16FE4, 0x1D159)
        for code in (*IGNORABLE, *blank):
            for name in (f"Bob{chr(code)}", f"B{chr(code)}ob", f"{chr(code)}Bob", f"Bob {chr(code)}", chr(code)):
                self.assertTrue(refuses(name), ascii(name))
        for name in ["शर्\u200dमा", "क्\u200d", "می\u200cنا"]:  # which RFC 5892 would allow
            self.assertTrue(refuses(name), ascii(name))

    def test_names_of_all_scripts_stay_names(self) -> None:
        for name in ODD:
            self.assertEqual(nickname(name).shown, unicodedata.normalize("NFKC", name))

    @given(st.text(st.sampled_from("".join(map(chr, confusables.TABLE)) + "Bob: (,)"), max_size=32))
    def test_no_name_has_a_mark_in_its_looks(self, raw: str) -> None:
        if not refuses(raw):
            shown = nickname(raw).shown
            plain = [c for c in shown if unicodedata.category(c) not in ("Mc", "Mn", "Lo")]
            self.assertFalse(set(skeleton("".join(plain))) & set(":,()"), ascii(shown))


class RuleTests(TestCase):
    """Two members in a group whose file is older than these rules, too."""

    def setUp(self) -> None:
        self.group = Group(1000)
        self.rules = Rules(self.group, Settings(rate=0))

    def member(self, name: str) -> Member:
        number, found = len(self.group.members) + 1, normalised(name)
        self.assertIsNotNone(self.group.apply(Joined(number, found.shown, found.key, NOW, "10.0.0.1", number)))
        return self.group.members[number]

    def why(self, name: str, member: Member | None = None) -> str:
        try:
            if member is None:
                self.rules.join("10.0.0.2", 1, Join(name), NOW)
            else:
                self.rules.rename(member, Rename(name), NOW)
        except IllegalMessage as why:
            return str(why)
        return ""

    def test_a_name_that_looks_like_one_in_use_is_in_use(self) -> None:
        eve = self.member("Eve")
        for one, other in ALIKE:
            for name, alike in ((one, other), (other, one)):
                holder = self.member(name)
                for who in (None, eve):
                    self.assertIn("in use", self.why(alike, who), (name, alike))
                for command in (SayAsGuest(alike, "hi"), Share("x", 1, guest=alike)):
                    with self.assertRaisesRegex(IllegalMessage, "in use"):
                        if isinstance(command, SayAsGuest):
                            self.rules.say_as_guest("10.0.0.2", command, NOW)
                        else:
                            self.rules.share("10.0.0.2", command, NOW)
                self.group.apply(Left(holder.id, holder.name, NOW))
                self.assertEqual((self.why(alike), self.why(alike, eve)), ("", ""), (name, alike))

    def test_a_member_may_take_a_look_alike_of_its_own_name(self) -> None:
        for one, other in ALIKE:
            member = self.member(one)
            if member.name != nickname(other).shown:
                self.assertEqual(self.why(other, member), "", (one, other))
            self.group.apply(Left(member.id, member.name, NOW))

    def test_a_rename_frees_the_old_looks_and_takes_the_new(self) -> None:
        bob = self.member("Bob")
        self.group.apply(Renamed(bob.id, "Bob", "Tom", "tom", NOW))
        self.assertEqual((self.why("Bоb"), "in use" in self.why("Torn")), ("", True))
        self.group.apply(Left(bob.id, "Tom", NOW))
        self.assertEqual(dict(self.group.skeletons), {})

    def test_names_that_looked_alike_before_stay(self) -> None:
        bob, forged = self.member("Bob"), self.member("Bоb")
        self.assertEqual(self.why("BOB", bob), "")
        self.assertIn("in use", self.why("Bob", forged))
        self.group.apply(Left(forged.id, forged.name, NOW))
        self.assertIn("in use", self.why("Bоb"))
        self.group.apply(Left(bob.id, bob.name, NOW))
        self.assertEqual((self.why("Bоb"), dict(self.group.skeletons)), ("", {}))

    def test_a_restarted_client_gets_a_name_back_that_has_a_double(self) -> None:
        bob, _ = self.member("Bob"), self.member("Bоb")
        bob.contact = NOW
        events = self.rules.join("10.0.0.1", 9, Join("Bob"), NOW + 1000)
        self.assertEqual([type(event) for event in events], [Left, Joined])

    def test_a_look_alike_does_not_release_a_name(self) -> None:
        self.member("Bob")
        with self.assertRaisesRegex(IllegalMessage, "in use"):
            self.rules.join("10.0.0.1", 9, Join("Bоb"), NOW + 1000)

    def test_a_member_of_a_refused_name_can_be_whispered_to(self) -> None:
        alice, odd = self.member("Alice"), self.member("Bob꞉ x")
        for words in ("Bob꞉ x: hi", "Bob꞉ x hi"):
            self.assertEqual(self.rules.whisper(alice, Whisper(words), NOW).reader, odd.id)
        self.assertEqual(self.why("Bob", odd), "")


class SessionTests(SynchronousTestCase):
    def test_datagrams_with_a_look_alike_are_illegal(self) -> None:
        node = Node()
        node.join(["Bob", "Eve"])
        for name in ("Bоb", "B\u200bob", "Bob\u2800", "Bob꞉ hi", "Bob has jоined"):
            self.assertEqual((node.ask(3, f"1 {name}"), node.ask(2, f"3 {name}")), (ILLEGAL, ILLEGAL), ascii(name))
        self.assertEqual(node.ask(1, "3 Bоb"), "")
        self.assertEqual(node.ask(2, "5"), "Bob changed his name to Bоb")
        self.assertEqual(node.ask(1, "2 \u2067a\u2069"), ILLEGAL)

    def test_a_line_tells_why_a_look_alike_is_refused(self) -> None:
        lobby = Lobby()
        self.assertEqual(lobby.ask(1, "1 Bob"), "")
        caller = lobby.call()
        answer = caller.ask("Bоb")
        self.assertIn("looks like one that is in use", "".join(answer))

    def test_look_alikes_at_the_same_time_are_not_both_taken(self) -> None:
        for first, then in [("1 Bob", "1 Bоb"), ("1 Bоb", "1 bob"), ("1 Tom", "1 Torn")]:
            node = Node()
            node.send(1, first)
            node.send(2, then)
            node.clock.advance(0)
            self.assertEqual((sorted(node.replies()), len(node.service.group.members)), (["", ILLEGAL], 1))
            self.assertEqual(node.ask(1, "4"), "close")
            self.assertEqual(node.ask(2, then), "")

    def test_look_alikes_of_a_rename_under_way_are_refused(self) -> None:
        node = Node()
        node.join(["Al", "Eve"])
        node.send(1, "3 Bob")
        node.send(2, "3 Bоb")
        node.send(3, "1 Bоb")
        node.clock.advance(0)
        self.assertCountEqual(node.replies(), ["", ILLEGAL, ILLEGAL])
        self.assertEqual([*node.service.group.names()], ["Eve", "Bob"])

    def test_a_join_that_is_not_stored_frees_its_name(self) -> None:
        node = Node(FailingLog([Unavailable("no room")]))
        self.assertIsNone(node.ask(1, "1 Bob"))
        self.assertEqual(node.ask(2, "1 Bоb"), "")
        self.assertEqual(node.ask(1, "1 Bob"), ILLEGAL)
        rules = node.service._rules
        self.assertEqual((rules._naming, rules._wanted), ({}, {}))
