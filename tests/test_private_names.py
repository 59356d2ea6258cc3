"""Every private name of a dependency that groupchat uses; test_quic has those of aioquic."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

from twisted.internet.abstract import FileDescriptor
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.udp import Port
from twisted.plugins.twisted_core import systemdEndpointParser
from twisted.trial.unittest import TestCase
from twisted.web.http import HTTPChannel

from tests.test_layers import module_files

ALLOWED: dict[str, tuple[type | ModuleType, str]] = {
    "_exit": (os, "public in spite of its name: ends a process at once, with a status"),
    "_transferDecoder": (HTTPChannel, "the reader of a body, dropped with a lost connection: it refers to its channel"),
    "_poller": (EPollReactor, "the epoll object, which reports no more sockets at once than a turn may serve"),
    "_fromListeningDescriptor": (
        Port,
        "a UDP port of our own class with a socket that was passed",
    ),
    "_sddaemon": (
        type(systemdEndpointParser),
        "the sockets that systemd passed, which Twisted has taken",
    ),
    "_tempDataLen": (FileDescriptor, "is there earlier data, which has to be sent first?"),
    "_respondToBadRequestAndDisconnect": (HTTPChannel, "the answer to a malformed request, which is overridden"),
}
"""Each private name: what has it, and what it is used for."""

AIOQUIC = "quic.core"
"""The module that uses private names of aioquic, and has a test of its own for them."""


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_"


def names_in(tree: ast.AST, *, own: bool = False) -> Iterator[str]:
    """Yield the private attributes that a tree names; with `own`, only those that it defines or uses on `self`."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=value, attr=name) if not own or (
                isinstance(value, ast.Name) and value.id in ("self", "cls")
            ):
                yield name
            case ast.Call(func=ast.Name("getattr" | "setattr" | "hasattr"), args=[_, ast.Constant(str(name)), *_]):
                yield name
            case ast.ClassDef(body=body) if own:
                for statement in body:
                    match statement:
                        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                            yield name
                        case ast.Assign(targets=[ast.Name(name)]) | ast.AnnAssign(target=ast.Name(name)):
                            yield name


def defined_in(tree: ast.AST) -> Iterator[str]:
    """Yield what a module defines: functions, classes, variables, slots, and what is set on `self`."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Name(name, ast.Store()) | ast.Attribute(ast.Name("self"), name, ast.Store()):
                yield name


@cache
def private_names_of(owner: type) -> set[str]:
    source = inspect.getsourcefile(owner)
    assert source is not None
    return set(filter(is_private, names_in(classes_in(source)[owner.__name__], own=True)))


@cache
def classes_in(source: str) -> dict[str, ast.ClassDef]:
    return {node.name: node for node in ast.walk(ast.parse(Path(source).read_text())) if isinstance(node, ast.ClassDef)}


@cache
def used() -> dict[str, set[str]]:
    """Return the modules that use each private name of a dependency."""
    files = {name: path for name, path in module_files().items() if name != AIOQUIC}
    trees = {name: ast.parse(path.read_text()) for name, path in files.items()}
    ours = {name for tree in trees.values() for name in defined_in(tree)}
    found: dict[str, set[str]] = {}
    for module, tree in trees.items():
        names = set(filter(is_private, names_in(tree))) - ours
        names |= {name for cls in heirs(module, files[module]) for name in inherited(cls)}
        for name in names:
            found.setdefault(name, set()).add(module)
    return found


def heirs(module: str, path: Path) -> Iterator[type]:
    """Yield the classes of a module that inherit from one of Twisted."""
    if "twisted" in path.read_text():
        name = f"groupchat.{module}".removesuffix(".")
        for cls in vars(importlib.import_module(name)).values():
            if inspect.isclass(cls) and cls.__module__ == name:
                yield cls


def inherited(cls: type) -> set[str]:
    """Return the private names of Twisted that a class uses of itself, or sets, or overrides."""
    names = private_names_of(cls)
    bases = [base for base in cls.__mro__ if base.__module__.startswith("twisted.")]
    return names & {name for base in bases for name in private_names_of(base)}


class PrivateNameTests(TestCase):
    def test_each_private_name_in_use_is_listed_with_its_reason(self) -> None:
        self.assertEqual({name: modules for name, modules in used().items() if name not in ALLOWED}, {})

    def test_each_listed_name_is_still_in_use(self) -> None:
        self.assertEqual(set(ALLOWED) - set(used()), set())

    def test_dependencies_still_have_each_listed_name(self) -> None:
        for name, (owner, _) in ALLOWED.items():
            names = private_names_of(owner) if isinstance(owner, type) else set(vars(owner))
            self.assertIn(name, names, owner)

    def test_uses_of_private_names_are_found(self) -> None:
        tree = ast.parse("class A(B):\n    _a = 1\n    def f(self):\n        return self._b, x._c, getattr(x, '_d', 0)")
        self.assertEqual(set(filter(is_private, names_in(tree))), {"_b", "_c", "_d"})
        self.assertEqual(set(filter(is_private, names_in(tree, own=True))), {"_a", "_b", "_d"})
