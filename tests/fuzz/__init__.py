"""Fuzzers for every door of the daemon: hostile inputs from grammars, each repeatable by the name of its round.

    python -m tests.fuzz --minutes 30           fuzz a real daemon through all doors in turn
    python -m tests.fuzz --repeat SEED/DOOR/7   repeat one round in memory, and show its first fault

An input is made from a grammar (grammar.py, and one table for each door) by dice that are seeded with the name of the
round. world.py runs the inputs on a daemon in memory, without sockets and with a clock that stands still, and live.py
on a real one. A fault is a bug that the daemon logs, an exception that it lets through, an answer or a line that is
against the protocol, or something that is left behind when all clients are gone.
"""
