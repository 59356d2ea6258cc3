"""The direction of the imports: a table of folders, and no circles."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from twisted.trial.unittest import TestCase

import groupchat

PACKAGE = Path(groupchat.__file__).parent

LAYERS = {
    "core": set[str](),
    "wire": {"core"},
    "log": {"core"},
    "files": {"core"},
    "quic": {"core"},
    "service": {"log", "core"},
    "frontends": {"service", "wire", "files", "quic", "core"},
    "client": {"wire", "quic", "core"},
    "control": {"service", "core"},
    "admin": {"control", "service", "log", "files", "core"},
    "daemon": {"control", "frontends", "service", "log", "files", "quic", "wire", "core"},
    "tap": {"daemon"},
    "__main__": {"client"},
}
"""Every folder and module of the package, and what it may import besides itself."""

INTERFACES_ONLY = {"log", "files"}
"""Folders whose concrete classes only daemon and admin name; others import the interfaces in their `__init__`."""

SHARED_BY_FRONTENDS = {"turn_budget", "connections", "guests", "operators", "transfers"}
"""Modules and folders of frontends that the others may import. A front end never imports another."""

IMPURE = {"twisted", "zope", "time", "datetime", "asyncio", "socket", "os", "io", "sqlite3", "threading", "subprocess"}
"""Modules that core and wire may not import."""


def module_files() -> dict[str, Path]:
    """Return the file of every module of the package, by its dotted name without `groupchat.`."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        found[name.removesuffix("__init__").removesuffix(".") if name != "__init__" else ""] = path
    return found


def imported(path: Path, known: dict[str, Path]) -> tuple[set[str], set[str]]:
    """Return the modules of the package that a file imports, and the top-level names of all others."""
    ours: set[str] = set()
    others: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name.removeprefix("groupchat.") in known else str(node.module) for name in whole]
        for name in names:
            if name == "groupchat" or name.startswith("groupchat."):
                ours.add(name.removeprefix("groupchat").removeprefix("."))
            else:
                others.add(name.split(".")[0])
    return ours - {""}, others


@cache
def all_imports() -> dict[str, tuple[set[str], set[str]]]:
    """Return what `imported` does for every module of the package."""
    modules = module_files()
    return {name: imported(path, modules) for name, path in modules.items()}


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Return the groups of modules that import each other, directly or through others."""

    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        todo = [start]
        while todo:
            for name in graph.get(todo.pop(), set()) - seen:
                seen.add(name)
                todo.append(name)
        return seen

    reached = {name: reach(name) for name in graph}
    return [{name, *(n for n in reached[name] if name in reached[n])} for name in graph if name in reached[name]]


class LayerTests(TestCase):
    def setUp(self) -> None:
        self.modules = module_files()
        found = all_imports()
        self.graph = {name: ours for name, (ours, _) in found.items()}
        self.outside = {name: others for name, (_, others) in found.items()}

    def test_every_module_is_in_a_layer(self) -> None:
        self.assertEqual({name.split(".")[0] for name in self.modules if name}, set(LAYERS))

    def test_imports_point_one_way(self) -> None:
        for name, imports in self.graph.items():
            folder = name.split(".")[0]
            reached = {other.split(".")[0] for other in imports}
            self.assertLessEqual(reached, LAYERS.get(folder, set()) | {folder}, name)

    def test_no_modules_import_in_a_circle(self) -> None:
        self.assertEqual(circles(self.graph), [])

    def test_circles_are_found(self) -> None:
        self.assertEqual(circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}), [{"b", "c"}, {"b", "c"}])

    def test_core_and_wire_are_pure(self) -> None:
        for name in self.modules:
            if name.split(".")[0] in {"core", "wire"}:
                self.assertEqual(self.outside[name] & IMPURE, set(), name)

    def test_only_daemon_and_admin_name_concrete_logs(self) -> None:
        for name, imports in self.graph.items():
            for folder in INTERFACES_ONLY - {name.split(".")[0]}:
                if name.split(".")[0] not in {"daemon", "admin"}:
                    self.assertEqual({other for other in imports if other.startswith(f"{folder}.")}, set(), name)

    def test_front_ends_do_not_import_each_other(self) -> None:
        for name, imports in self.graph.items():
            layer, _, module = name.partition(".")
            if layer == "frontends" and module:
                own = module.split(".")[0]
                reached = {other.split(".")[1] for other in imports if other.startswith("frontends.")}
                self.assertLessEqual(reached - SHARED_BY_FRONTENDS, {own}, name)

    def test_only_what_speaks_quic_imports_it(self) -> None:
        users = {name for name, imports in self.graph.items() if any(other.startswith("quic") for other in imports)}
        outside = {name for name in users if not name.startswith(("quic", "daemon."))}
        self.assertEqual(outside, {"frontends.quic", "client.quic"})
