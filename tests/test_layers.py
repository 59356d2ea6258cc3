"""Imports point one way: tap -> frontends, log, service -> group, codec -> events, names, errors."""

from __future__ import annotations

import ast
from pathlib import Path

from twisted.trial.unittest import TestCase

import groupchat

PACKAGE = Path(groupchat.__file__).parent

PURE = {
    "groupchat.errors": set[str](),
    "groupchat.commands": set[str](),
    "groupchat.history": {"limits"},
    "groupchat.ids": set[str](),
    "groupchat.events": set[str](),
    "groupchat.names": {"errors", "events"},
    "groupchat.notices": set[str](),
    "groupchat.texts": {"errors"},
    "groupchat.codec": {"commands", "errors", "texts"},
    "groupchat.limits": {"texts"},
    "groupchat.linecodec": {"commands", "errors", "ids", "limits"},
    "groupchat.group": {"events", "history", "ids"},
    "groupchat.pace": {"errors", "group", "limits"},
    "groupchat.filenames": {"errors"},
    "groupchat.filecodec": {"errors", "filenames", "ids", "limits", "linecodec"},
    "groupchat.rules": {"commands", "errors", "events", "filenames", "group", "limits", "names", "pace", "texts"},
}
"""The core, which knows nothing of Twisted, and what each part of it may import of the rest."""

SERVICE = {
    "groupchat.seats": {"commands", "errors", "events", "group"},
    "groupchat.appender": {"errors", "events", "log"},
    "groupchat.snapshots": {"errors", "events", "group", "ids", "log"},
    "groupchat.subscriptions": {"group"},
    "groupchat.upkeep": {"events", "group", "limits", "rules", "seats"},
    "groupchat.service": {
        "appender",
        "commands",
        "errors",
        "events",
        "group",
        "limits",
        "log",
        "rules",
        "seats",
        "snapshots",
        "subscriptions",
        "upkeep",
    },
}

FILES = {"errors", "events", "filenames", "files", "limits"}
"""What a part of the shelf may import beside its other parts: it knows nothing of the group. Others see an IShelf."""

QUIC = {"quic", "quic.connection", "quic.core", "quic.stream", "quic.turns"}
"""A connection over QUIC as Twisted sees it: both sides use it, and it knows neither."""

FRONT_END = {
    "codec",
    "commands",
    "errors",
    "events",
    "filecodec",
    "files",
    "group",
    "ids",
    "limits",
    "linecodec",
    "names",
    "notices",
    "seats",
    "service",
    "subscriptions",
    "texts",
}
SHARED = {
    "frontends",
    "frontends.desk",
    "frontends.inflow",
    "frontends.once",
    "frontends.receiving",
    "frontends.sending",
    "frontends.streams",
    "frontends.transfers",
    "frontends.words",
}
"""What front ends have in common: no front end itself."""

ADMIN = {"__version__", "errors", "events", "group", "log", "log.database", "snapshots"}
OUTSIDE = {"options", "tap", "admin", "__main__"}
A_LOG = {"errors", "events", "log", "log.database"}

READS_NO_CLOCK = {"time", "datetime", "asyncio", "socket", "os", "io", "sqlite3", "threading", "subprocess"}


def imports(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it; `from groupchat import x` counts as groupchat.x."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names = {f"groupchat.{alias.name}" for alias in node.names}
            found |= names if node.module == "groupchat" else {node.module or ""}
    return found


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = [PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts]
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


class LayerTests(TestCase):
    def setUp(self) -> None:
        self.modules = modules()
        self.imports = {name: imports(path) for name, path in self.modules.items()}

    def ours(self, name: str) -> set[str]:
        return {other.removeprefix("groupchat.") for other in self.imports[name] if other.startswith("groupchat.")}

    def others(self, name: str) -> set[str]:
        """What a module imports of ours; those of a front end that is a package may import each other."""
        of_web = name.startswith("groupchat.frontends.web")
        return {other for other in self.ours(name) if not (of_web and other.startswith("frontends.web"))}

    def test_every_module_is_in_a_layer(self) -> None:
        for name in self.modules:
            package = name.split(".")[1] if "." in name else ""
            known = package in {"", "client", "files", "frontends", "log", "quic", "certificate", *OUTSIDE}
            self.assertTrue(known or name in PURE | SERVICE, f"{name} is in no layer: say in which")

    def test_the_core_is_pure(self) -> None:
        for name, allowed in PURE.items():
            self.assertLessEqual(self.ours(name), allowed, name)
            for module in self.imports[name]:
                self.assertNotIn(module.split(".")[0], {"twisted", "zope"} | READS_NO_CLOCK, name)

    def test_the_service_knows_the_core_and_ilog(self) -> None:
        for name, allowed in SERVICE.items():
            self.assertLessEqual(self.ours(name), allowed, name)

    def test_the_shelf_knows_nothing_of_the_group(self) -> None:
        for name in self.modules:
            if name.startswith("groupchat.files"):
                others = {other for other in self.ours(name) if not other.startswith("files.")}
                self.assertLessEqual(others, FILES, name)

    def test_only_tap_names_the_shelf_on_a_disk(self) -> None:
        for name in self.modules:
            if name != "groupchat.tap" and not name.startswith("groupchat.files"):
                self.assertFalse({other for other in self.ours(name) if other.startswith("files.")}, name)

    def test_what_both_sides_use_knows_neither(self) -> None:
        for name in QUIC:
            self.assertLessEqual(self.ours(f"groupchat.{name}"), QUIC, name)
        self.assertEqual(self.ours("groupchat.certificate"), {"errors"})

    def test_only_what_speaks_quic_needs_its_library(self) -> None:
        outside = {name for name in self.modules if not name.startswith("groupchat.quic")}
        users = {name for name in outside if (QUIC | {"certificate"}) & self.ours(name)}
        self.assertEqual(users, {"groupchat.frontends.quic", "groupchat.client.quic", "groupchat.tap"})

    def test_front_ends_know_the_service_and_codecs_and_never_each_other_or_a_log(self) -> None:
        names = [name for name in self.modules if name.startswith("groupchat.frontends.")]
        self.assertTrue(names)
        for name in names:
            more = QUIC | {"certificate"} if name == "groupchat.frontends.quic" else set[str]()
            self.assertLessEqual(self.others(name), FRONT_END | SHARED | more, name)

    def test_a_log_knows_events_and_ilog(self) -> None:
        names = [name for name in self.modules if name.startswith("groupchat.log")]
        self.assertGreater(len(names), 1)
        for name in names:
            self.assertLessEqual(self.ours(name), A_LOG, name)

    def test_the_client_knows_nothing_of_the_server(self) -> None:
        names = [name for name in self.modules if name.startswith("groupchat.client.")]
        self.assertTrue(names)
        for name in names:
            others = {other for other in self.ours(name) if other != "client" and not other.startswith("client.")}
            self.assertLessEqual(others, QUIC if name == "groupchat.client.quic" else {"__version__", "notices"}, name)

    def test_admin_reads_files_and_folds_them_and_knows_neither_a_service_nor_a_front_end(self) -> None:
        self.assertLessEqual(self.ours("groupchat.admin"), ADMIN)

    def test_only_tap_names_concrete_logs_and_front_ends(self) -> None:
        for name in self.modules:
            if name not in {"groupchat.tap", "groupchat.admin"} and not name.startswith(
                ("groupchat.client", "groupchat.log")
            ):
                concrete = {other for other in self.others(name) - SHARED if other.startswith(("frontends.", "log."))}
                self.assertEqual(concrete, set(), name)

    def test_nobody_imports_tap_or_admin(self) -> None:
        for name in self.modules:
            self.assertFalse({"tap", "admin"} & self.ours(name), name)
