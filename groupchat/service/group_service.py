"""GroupService: the one writer of a group's log. It joins the group, the log and the clock.

    submit   -> refused by the rules, or answered, or an event; the events of a reactor turn are one entry: log.append
    log.tail -> group.apply -> the answer to the seat that submitted the command

Three rules. Nobody is told of an event before the log has given it back: what clients are told is durable. The commands
of one seat take effect in the order in which they came. And a command that could not be stored is neither done nor
refused: its client is told that it was dropped, and may send it again. Over UDP it gets no answer.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import AsyncIterator, Callable, Generator, Iterable
from itertools import repeat
from typing import Any

from twisted.application import service
from twisted.internet.defer import Deferred, inlineCallbacks, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from groupchat.core import facts
from groupchat.core.commands import Command, Erase, Leave, OperatorCommand
from groupchat.core.errors import Broken, IllegalMessage, LogError, Misplaced, NotNow, RemovedByOperator
from groupchat.core.events import Address, Banned, Changed, Erased, Event, Joined, Left, Line, Removed, Said, Seen
from groupchat.core.group import Group, Member, Outcome
from groupchat.core.limits import QUEUED, Settings
from groupchat.core.rules import DAY, Rules
from groupchat.log import Entry, ILog, Snapshot
from groupchat.service.access_log import LOGGED, AccessLog
from groupchat.service.appender import Appender
from groupchat.service.audit import AUDITED, Audit
from groupchat.service.command_handler import CommandHandler
from groupchat.service.command_queue import CommandQueue
from groupchat.service.entry_queue import EntryQueue
from groupchat.service.eraser import Eraser
from groupchat.service.highest import HighestNumber
from groupchat.service.seats import IClient, IConnection, Seat, Seats, Vacate, Waiter
from groupchat.service.snapshots import Snapshots, SnapshotSaver
from groupchat.service.subscriptions import Subscriptions
from groupchat.service.upkeep import Upkeep

SNAPSHOT_EVENTS = 50_000
"""The number of events after which a snapshot is saved. One is saved each day, too, so that old entries can go."""

PLACES = 8
"""The number of recorded cursors that counts as one event more, for the room that they take in the log."""


@implementer(IClient)
class _Operator:
    """The client for one command of an operator of this machine."""

    def __init__(self) -> None:
        self.done: Deferred[None] = Deferred()

    def answered(self, seat: Seat, command: Command) -> None:
        self.done.callback(None)

    def refused(self, seat: Seat, command: Command, why: IllegalMessage) -> None:
        self.done.errback(why)

    def dropped(self, seat: Seat, command: Command) -> None:
        self.done.errback(NotNow("The server cannot store that now: try again."))


class GroupService(service.Service):
    """One group, served from one log. `fatal` is called once, when the state can no longer be trusted."""

    _logger = Logger()

    def __init__(
        self,
        settings: Settings,
        log: ILog,
        clock: IReactorTime,
        fatal: Callable[[], None],
        audit: Audit | None = None,
    ) -> None:
        self.settings = settings
        """The settings in force: `configure` replaces them."""
        self._chosen = settings  # as the options say; the facts of the group win over them
        self.audit = audit or Audit(None)
        self.group = Group(settings.keep)
        self.seats = Seats(self.group)
        self.access_log = AccessLog(self.seats, lambda: self.settings, clock.seconds)
        self.subscriptions = Subscriptions(self.group, clock, self.survive)
        self._snapshots = Snapshots(self.group)
        self._saver = SnapshotSaver(self._snapshots, log, clock, self.survive)
        self._highest = HighestNumber(self.group, log, clock.seconds)
        self.eraser = Eraser(self.group, self._snapshots, log, clock, self.survive)
        self._rules = Rules(self.group, settings)
        self._log = log
        self.seconds = clock.seconds
        """Return the time."""
        self._fatal = fatal
        self._upkeep = Upkeep(self.seats, self._rules)
        self._appender = Appender(log, clock, self._give_up, self._break)
        handler = CommandHandler(self.seats, self._rules, self._upkeep, clock.seconds, self._appender.add)
        self._queue = CommandQueue(handler, self.seats, self._appender, clock, self.survive)
        self._entries = EntryQueue(clock, self._on_entry)
        self.when_erased: list[Callable[[Erased], None]] = []
        """Functions that are called when lines were erased: whatever was made of them is to be forgotten."""
        self._survived = float("-inf")  # when a bug was last logged
        self._day = 0.0
        self._checking = False
        self._ticker = LoopingCall(self._tick)
        self._ticker.clock = clock

    # Starting and stopping

    @inlineCallbacks
    def startService(self) -> Generator[Deferred[Any], Any, None]:
        """Fold the log. Fire when commands can be taken; fail if the log cannot be folded."""
        super().startService()
        yield self._log.open(self._break)
        snapshot: Snapshot | None = yield self._log.load_snapshot()
        after = 0 if snapshot is None else self._snapshots.load(snapshot)
        self._use_facts()
        gc.disable()  # the garbage collector would take a fifth of the time, and nearly all objects are kept
        try:
            yield self._log.tail(after, self._entries.add)
        finally:
            gc.enable()
        self._entries.is_limited = True
        self._snapshots.caught_up()
        if self._queue.closed:
            raise LogError("The log cannot be applied.")
        yield self._highest.check()
        if self.running:
            now = self.seconds()
            self._day = now // DAY
            self._upkeep.start(now)
            self._hold_all()
            self._ticker.start(1.0, now=False)
            self.eraser.run()

    @inlineCallbacks
    def stopService(self) -> Generator[Deferred[Any], Any, None]:
        """Wait for what is under way, record all cursors, save a snapshot, and close the log."""
        super().stopService()
        started = self._ticker.running
        self.eraser.stop()
        if started:
            self._ticker.stop()
        if started and (yield self.drain()) and not self._queue.closed:
            self._queue.submit(*self._upkeep.last_record())
            yield self.drain()
            yield self._saver.save_last()
            yield self._highest.save()
        yield self._log.close()
        self.access_log.sum_up()
        self._logger.info(
            "{name} closes: {members} members, {lines} lines, {records} cursor records",
            name=self.settings.name,
            members=len(self.group.members),
            lines=self.group.history.head,
            records=self._upkeep.records,
        )

    def configure(self, settings: Settings) -> None:
        """Use other settings from now on. The facts of the group win over them."""
        self._chosen = settings
        self._use_facts()

    def _use_facts(self) -> None:
        self.settings = facts.settings(self._chosen, self.group.moderation.facts)
        self._rules.configure(self.settings)
        self.group.history.keep(self.settings.keep)

    def drain(self) -> Deferred[bool]:
        """Fire with True when no command is under way, or with False after DRAIN_SECONDS."""
        self._queue.begin_released(QUEUED)  # all of them in this turn
        return succeed(False) if self._queue.closed else self._appender.drain()

    def is_well(self) -> bool:
        """Return True if commands can be done: the state can be trusted, and the log stores what is appended."""
        return self._ticker.running and not self._queue.closed and not self._appender.failing

    def ask_log(self) -> Deferred[int]:
        """Fire, or fail, when the log has come round to this question."""
        return self._log.head()

    def probe(self) -> Deferred[None]:
        """Find out if a log that failed stores again: see Appender. Fire when `is_well` can be asked."""
        return self._appender.probe() if self._ticker.running and not self._queue.closed else succeed(None)

    def commits(self) -> tuple[int, float]:
        """Return the number of entries stored since the start, and the seconds that it took in all."""
        return self._appender.commits, self._appender.commit_seconds

    @property
    def refused(self) -> Counter[str]:
        """The number of commands that were refused, by reason."""
        return self._queue.refused

    @property
    def dropped(self) -> int:
        """The number of commands that got no answer."""
        return self._queue.dropped

    # For front ends

    def submit(self, seat: Seat, command: Command) -> None:
        """Do a command of a seat, after all that the seat asked before. Its client is told; this never raises."""
        member = seat.member
        if member is not None:
            member.contact = self.seconds()
        self._queue.submit(seat, command)

    def wait(self, host: str, member: Member | None, count: int) -> float:
        """Return the seconds until so many commands of a member are not too fast; without a member, a join."""
        pace, now = self._rules.pace, self.seconds()
        return pace.wait_to_join(host, now) if member is None else pace.wait(member, count, now)

    def operate(self, command: OperatorCommand) -> Deferred[None]:
        """Do a command of an operator of this machine. Fire when it is done; fail with IllegalMessage."""
        client = _Operator()
        seat = Seat("")
        seat.client = client
        self.submit(seat, command)
        return client.done

    async def erase(self, wanted: Erase) -> AsyncIterator[tuple[int, int]]:
        """Erase lines, a portion a turn, until no file has their texts any more.

        Yield after each portion how many were erased so far, and the number of the line up to which this is done.
        Raise IllegalMessage if there was none, or NotNow if the log fails: then what was not yielded is not done.
        """
        count, first, refused = 0, wanted.first, IllegalMessage("There is no such line.")
        while first <= wanted.last:
            portion = Erase(first, wanted.last, wanted.member, by=wanted.by, why=wanted.why)
            try:
                await self.operate(portion)
                count += portion.count
            except NotNow:
                raise
            except IllegalMessage as why:
                refused = why
                if not portion.upto:
                    break  # there are no more lines
            yield count, portion.upto
            first = portion.upto + 1
        if not count:
            raise refused
        await self.eraser.done()

    def may_share(self, host: str, member_id: int, guest: str) -> None:
        """Raise IllegalMessage, saying why, if a Share by this member or guest would be refused now."""
        if self._queue.closed:
            raise NotNow("The server cannot take that now.")
        self._rules.may_share(host, member_id, guest, self.seconds())

    def resume(self, secret: str, host: str, client: IConnection) -> Seat:
        """Continue a session on another connection, and return its seat. Raise IllegalMessage if there is none.

        Commands under way from there are answered to the new client. The old one, if there is one, is told.
        """
        member = self.group.by_secret.get(secret)
        self.group.moderation.check(host, None, secret, self.seconds())
        if member is None:
            raise IllegalMessage("There is no such session: it was ended, or not resumed in time. Join again.")
        seat = self.seats.of(member)
        self.seats.held.pop(seat, None)
        old, seat.client = seat.client, client
        member.contact = self.seconds()
        self.access_log.resumed(seat, member, host, displaced=old is not None)
        self._displace(old, IllegalMessage("This session goes on on another connection."))
        return seat

    def hang_up(self, seat: Seat, *, hold: bool) -> None:
        """End a connection: hold its seat for the next one, or else make its member leave."""
        member = seat.member
        if member is not None and seat.client is not None:
            member.contact = self.seconds()  # being connected is a contact
        seat.client = None
        if member is None and not seat.busy:
            return
        if hold:
            self.seats.held[seat] = self.seconds()
        else:
            self.seats.held[seat] = float("-inf")
            self._queue.submit(seat, Vacate())

    def heard(self, address: Address) -> None:
        """Note that an address sent something that is no command: if a member has it, that member is not silent."""
        member = self.group.by_address.get(address)
        if member is not None:
            member.contact = self.seconds()

    def survive(self, doing: str) -> None:
        """Log the exception being handled, with its traceback: one a second at most, so as not to flood the log."""
        now = self.seconds()
        if not 0 <= now - self._survived < 1:
            self._survived = now
            self._logger.failure("A bug while {doing}; the daemon goes on", doing=doing)

    def _hold_all(self) -> None:
        """After a start, hold the sessions that can be resumed; other members without an address leave."""
        for member in tuple(self.group.members.values()):  # a copy: the log may give back at once that one left
            if member.address is None:
                self.hang_up(self.seats.of(member), hold=member.secret is not None)

    # Applying

    def _give_up(self, waiter: Waiter) -> None:
        self._queue.give_up(waiter)

    def _on_entry(self, entry: Entry) -> None:
        """Fold one entry of the log, and answer those of its commands that were submitted here."""
        waiters = self._waiters(entry)
        if self._queue.closed:
            return
        for event, waiter in zip(self._snapshots.begin(entry), waiters, strict=False):
            try:
                outcome = self._apply(event, waiter)
            except Exception:
                self._break(Failure())
                return
            if outcome is None:
                if type(event) is Seen:
                    self._saver.unsaved += len(event.places) // PLACES
                elif isinstance(event, Line):
                    self._snapshots.refused(entry, event)
            if waiter is not None:
                self._queue.settle(waiter, outcome)
        if self.group.erased and self._ticker.running:
            self.eraser.run()
        self._appender.check_drained()
        self.subscriptions.wake()
        self._saver.unsaved += len(entry.events)
        if self._saver.unsaved >= SNAPSHOT_EVENTS and self._ticker.running:
            self._saver.save()

    def _apply(self, event: Event, waiter: Waiter | None) -> Outcome:
        """Fold one event, and update the seats if it makes somebody join or leave."""
        if type(event) is Said:
            return self.group.apply(event)
        leaver = self.group.members.get(event.member) if isinstance(event, Left | Removed) else None
        outcome = self.group.apply(event)
        if type(event) in LOGGED and outcome is not None and self._ticker.running:
            self.access_log.event(event, leaver, waiter)
        self._use_decision(event)
        if outcome is not None:
            if leaver is not None:
                self._left(leaver, event, waiter)
            elif type(event) is Joined:
                member = self.group.members[event.member]
                self.seats.joined(member, waiter[0] if waiter else None)
                if waiter:
                    self._rules.pace.joined(member, self.seconds())
        return outcome

    def _use_decision(self, event: Event) -> None:
        """Do what follows from an operator's decision, if the event is one."""
        if type(event) is Banned:
            self._upkeep.search_for_banned()
        elif type(event) is Changed:
            self._use_facts()
        elif type(event) is Erased:
            for erased in self.when_erased:
                erased(event)

    def _waiters(self, entry: Entry) -> Iterable[Waiter | None]:
        """Return who waits for each event of an entry. Record what operators did here."""
        waiters = self._appender.arrived(entry.entry_id)
        if waiters is None:
            return repeat(None)
        self._audit(entry)
        return waiters

    def _audit(self, entry: Entry) -> None:
        """Record what operators did, at the node where it was done."""
        try:
            for event in entry.events:
                if type(event) in AUDITED:
                    self.audit.event(event)
        except OSError as why:
            self._logger.error("The audit trail cannot be written: {why}", why=str(why))

    def _left(self, leaver: Member, event: Event, waiter: Waiter | None) -> None:
        """Free the seat of a member that left. If its connection did not ask for that on this node, it is told."""
        seat = self.seats.live.get(leaver.id)
        self.seats.left(leaver)
        if waiter:
            self._rules.pace.left(leaver, self.seconds())
        asked = waiter is not None and isinstance(waiter[1], Leave)
        if seat is not None and not asked:
            client, seat.client = seat.client, None
            if type(event) is Removed:
                self._displace(client, RemovedByOperator(event.why))
            else:
                self._displace(client, IllegalMessage("You are no longer in the group: join again."))

    def _displace(self, client: IClient | None, why: IllegalMessage) -> None:
        """Tell a connection that it has lost its seat."""
        connection = IConnection(client, None)
        if connection is not None:
            try:
                connection.displaced(why)
            except Exception:
                self.survive("taking a seat away")

    def _break(self, failure: Failure) -> None:
        """Stop answering and appending for good: the log or the state cannot be used any more."""
        if not self._queue.closed:
            self._queue.closed = True
            if failure.check(Broken):
                self._logger.critical("The daemon ends: {why}", why=failure.getErrorMessage())
            else:
                self._logger.failure("The state can no longer be trusted; stopping", failure)
            self._fatal()

    @inlineCallbacks
    def _check_log(self) -> Generator[Deferred[Any], Any, None]:
        """See that the log is in its place, and tell the operator if not."""
        if self._checking:
            return
        self._checking = True
        try:
            if news := (yield self._log.check()):
                self._logger.warn("{news}", news=news)
        except Misplaced:
            self._appender.misplaced(Failure())
        except LogError:
            pass  # it is closed
        except Exception:
            self.survive("checking the log")
        finally:
            self._checking = False

    def _tick(self) -> None:
        """Do what is done every second."""
        try:
            now = self.seconds()
            for seat, command in self._upkeep.tick(now):
                self._queue.submit(seat, command)
            self.access_log.tick(now)
            self._check_log()
            self._highest.save_if_changed()
            self.subscriptions.drop_stalled(self.settings.stall)
            if now // DAY != self._day:
                self._day = now // DAY
                if self._saver.unsaved:
                    self._saver.save()
        except Exception:
            self.survive("doing what is done every second")
