"""GroupService: the one writer. It joins the group, the log and the clock, and answers whoever asked.

    submit   -> what the rules refuse already is refused; the rest of a reactor turn is one entry: log.append
    log.tail -> group.apply -> the answer to whoever submitted it

Three rules. Nobody is told of an event before the log has given it back: what anybody is told is durable. What one
source asks takes effect in the order in which it was asked: one command is under way, or some texts that go as one
entry, and a few wait behind. And what could not be stored is left unanswered, for its sender to ask again: to call it
heard, or illegal, would be untrue.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Generator
from itertools import repeat
from typing import Any, cast

from twisted.application import service
from twisted.internet.defer import Deferred, inlineCallbacks, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from groupchat.core.commands import (
    Command,
    Files,
    Join,
    Leave,
    Poll,
    Query,
    Recall,
    Rename,
    Say,
    SayAsGuest,
    Share,
    Users,
    Whisper,
)
from groupchat.core.errors import IllegalMessage, LogError, NotNow
from groupchat.core.events import Address, Event, Joined, Left, Said, Seen
from groupchat.core.group import Group, Member, Outcome
from groupchat.core.limits import QUEUE, QUEUED, Settings
from groupchat.core.rules import DAY, Rules
from groupchat.log import Entry, ILog, Snapshot
from groupchat.service.appender import Appender
from groupchat.service.seats import Chore, Expire, IClient, IConnection, Record, Seat, Seats, Task, Vacate
from groupchat.service.snapshots import VERSION as SNAPSHOT_VERSION
from groupchat.service.snapshots import Snapshots
from groupchat.service.subscriptions import Subscriptions
from groupchat.service.upkeep import Upkeep

REPEAT_SECONDS = 1.0
"""How often one member may ask for the names again, by repeating its join."""

SNAPSHOT_EVENTS = 50_000
"""After how many events a snapshot is saved; it is once a day, too, so that what is too old leaves the log."""

PLACES = 8
"""How many recorded cursors count as one event more, for the room that they take in the log."""

IN_BATCH = (Say, Whisper)
"""What one source says without waiting goes as one entry: none of it changes whether the rest is allowed."""

Waiter = tuple[Seat, Task]


class GroupService(service.Service):
    """One group, served from one log. `fatal` is called once, when the state can no longer be trusted."""

    _logger = Logger()

    def __init__(self, settings: Settings, log: ILog, clock: IReactorTime, fatal: Callable[[], None]) -> None:
        self.settings = settings
        self.group = Group(settings.keep)
        self.seats = Seats(self.group)
        self.subscriptions = Subscriptions(self.group, clock, self.survive)
        self._snapshots = Snapshots(self.group)
        self._unsaved = 0  # events since the last snapshot
        self._saving = False
        self._rules = Rules(self.group, settings)
        self._log = log
        self._appender: Appender[Waiter] = Appender(log, clock, self._given_up, self._break)
        self._seconds = clock.seconds
        self._fatal = fatal
        self._broken = False
        self._survived = float("-inf")  # when a bug was last logged
        self._upkeep = Upkeep(self.group, self.seats, self._rules, settings, self._do)
        self._queued = 0
        self.refused = 0
        self.dropped = 0
        """How many commands were refused, and how many had no answer."""
        self._day = 0.0
        self._ticker = LoopingCall(self._tick)
        self._ticker.clock = clock
        self._begin: dict[type[Task], Callable[[Seat, Any], None]] = {
            Say: self._say,
            Poll: self._look,
            Users: self._look,
            Recall: self._look,
            Files: self._look,
            Whisper: self._whisper,
            Join: self._join,
            Rename: self._rename,
            Leave: self._leave,
            Share: self._share,
            SayAsGuest: self._tell_all,
            Expire: self._chore,
            Vacate: self._chore,
            Record: self._chore,
        }

    # Starting and stopping

    @inlineCallbacks
    def startService(self) -> Generator[Deferred[Any], Any, None]:
        """Fold the log; fires when commands can be taken. Fails if the log cannot be folded."""
        super().startService()
        yield self._log.open(self._break)
        snapshot: Snapshot | None = yield self._log.load_snapshot()
        after = 0 if snapshot is None else self._snapshots.load(snapshot)
        gc.disable()  # what is kept is kept: looking through it for garbage again and again takes a fifth of the time
        try:
            yield self._log.tail(after, self._on_entry)
        finally:
            gc.enable()
        self._snapshots.caught_up()
        if self._broken:
            raise LogError("What is in the log cannot be applied.")
        if self.running:
            now = self._seconds()
            self._day = now // DAY
            self._upkeep.start(now)
            self._hold_all()
            self._ticker.start(1.0, now=False)

    @inlineCallbacks
    def stopService(self) -> Generator[Deferred[Any], Any, None]:
        """Wait for what is under way, record where everybody is, and close the log."""
        super().stopService()
        started = self._ticker.running
        if started:
            self._ticker.stop()
        if started and (yield self.drain()) and not self._broken:
            self._upkeep.finish()
            yield self.drain()
            yield self._save()
        yield self._log.close()
        self._logger.info(
            "{name} closes: {members} members, {lines} lines, {records} cursor records",
            name=self.settings.name,
            members=len(self.group.members),
            lines=self.group.history.head,
            records=self._upkeep.records,
        )

    def drain(self) -> Deferred[bool]:
        """Fires with True when no command is under way, with False after seconds in which they could not be stored."""
        return succeed(False) if self._broken else self._appender.drain()

    def is_well(self) -> bool:
        """Whether what is asked can be done: the state can be trusted, and the log takes what is appended."""
        return self._ticker.running and not self._broken and not self._appender.failing

    def commits(self) -> tuple[int, float]:
        """How many entries were stored since the start, and how many seconds that took in all."""
        return self._appender.commits, self._appender.commit_seconds

    # What front ends ask

    def submit(self, seat: Seat, command: Command) -> None:
        """Do what a seat asks, after all that it asked before. Its client is told; this never raises."""
        member = seat.member
        if member is not None:
            member.contact = self._seconds()
        self._do(seat, command)

    def may_share(self, host: str, member_id: int, guest: str) -> None:
        """Whether a Share by this one would be begun now. Raises IllegalMessage, saying why, if not."""
        if self._broken:
            raise NotNow("The server cannot take that now.")
        self._rules.may_share(host, member_id, guest, self._seconds())

    def resume(self, secret: str, client: IConnection) -> Seat:
        """Go on with a session on another connection. Returns its seat; raises IllegalMessage if there is none.

        What is under way from there is answered to the new client. The old one, if there is one, is told.
        """
        member = self.group.by_secret.get(secret)
        if member is None:
            raise IllegalMessage("There is no such session: it was ended, or not resumed in time. Join again.")
        seat = self.seats.of(member)
        self.seats.held.pop(seat, None)
        old, seat.client = seat.client, client
        member.contact = self._seconds()
        self._displace(old, "This session goes on on another connection.")
        return seat

    def hang_up(self, seat: Seat, *, hold: bool) -> None:
        """A connection has ended: its seat is held for the next one, or else its member leaves."""
        member = seat.member
        if member is not None and seat.client is not None:
            member.contact = self._seconds()  # it was here until now, whether it said something or not
        seat.client = None
        if member is None and not seat.busy:
            return
        if hold:
            self.seats.held[seat] = self._seconds()
        else:
            self.seats.held[seat] = float("-inf")
            self._do(seat, Vacate())

    def _hold_all(self) -> None:
        """No connection outlives a restart: what can be resumed is held from now on, everybody else leaves."""
        for member in tuple(self.group.members.values()):  # a log may give back at once that one left
            if member.address is None:
                self.hang_up(self.seats.of(member), hold=member.secret is not None)

    def _do(self, seat: Seat, task: Task) -> None:
        """Begin this, or queue it behind what is under way from there."""
        may_begin = not seat.queue and (not seat.busy or self._joins_batch(seat, task))
        if not (may_begin and self._start(seat, task)):
            self._queue(seat, task)

    def _joins_batch(self, seat: Seat, task: Task) -> bool:
        """Whether this can go as one entry with all that is under way from there."""
        return type(task) in IN_BATCH and seat.batch == self._appender.entry

    def _queue(self, seat: Seat, task: Task) -> None:
        if seat.queue is None:
            seat.queue = []
        if len(seat.queue) < QUEUE and self._queued < QUEUED:
            seat.queue.append(task)
            self._queued += 1
        else:
            self._drop(seat, task)

    def heard(self, address: Address) -> None:
        """Something came from this address that is no command: if it is a member's, the member is not silent."""
        member = self.group.by_address.get(address)
        if member is not None:
            member.contact = self._seconds()

    def survive(self, doing: str) -> None:
        """Log the exception being handled, with its traceback: one a second at most, so that none can flood the log."""
        now = self._seconds()
        if not 0 <= now - self._survived < 1:
            self._survived = now
            self._logger.failure("A bug, survived, while {doing}", doing=doing)

    # Beginning a command: it is refused, answered at once, or becomes events

    def _start(self, seat: Seat, task: Task) -> bool:
        """Returns whether this is begun: what is to be refused waits until what was asked before is answered."""
        if self._broken:
            self._drop(seat, task)
            return True
        try:
            self._begin[type(task)](seat, task)
        except IllegalMessage as why:
            if seat.busy:
                return False
            self._refuse(seat, task, why)
        except Exception:
            self.survive("beginning a command")
            self._drop(seat, task)
        return True

    def _member(self, seat: Seat) -> Member:
        """Who asks."""
        member = seat.member
        if member is None:
            raise IllegalMessage("You are not a member: join first.")
        return member

    def _look(self, seat: Seat, command: Query) -> None:
        member = self._member(seat)
        if type(command) is not Poll:
            self._rules.pace.take(member, self._seconds())
        self._answer(seat, command)

    def _say(self, seat: Seat, command: Say) -> None:
        member = self._member(seat)
        if command.id and self._rules.is_done(member, command):
            self._answer(seat, command)
        else:
            self._propose(seat, command, self._rules.say(member, command, member.contact))

    def _whisper(self, seat: Seat, command: Whisper) -> None:
        member = self._member(seat)
        if self._rules.is_done(member, command):
            self._answer(seat, command)
        else:
            event = self._rules.whisper(member, command, self._seconds())
            command.to = event.to
            self._propose(seat, command, event)

    def _rename(self, seat: Seat, command: Rename) -> None:
        member = self._member(seat)
        if self._rules.is_done(member, command):
            self._answer(seat, command)
        else:
            event = self._rules.rename(member, command, self._seconds())
            self._rules.naming(seat, event)
            self._propose(seat, command, event)

    def _leave(self, seat: Seat, command: Leave) -> None:
        member = self._member(seat)
        self._propose(seat, command, self._rules.leave(member, self._seconds()))

    def _share(self, seat: Seat, command: Share) -> None:
        now = self._seconds()
        member = self.group.members.get(command.member)
        if member is not None:
            member.contact = now  # it is heard of, though nobody sits on this seat
        self._propose(seat, command, self._rules.share(seat.host, command, now))

    def _tell_all(self, seat: Seat, command: SayAsGuest) -> None:
        self._propose(seat, command, self._rules.say_as_guest(seat.host, command, self._seconds()))

    def _chore(self, seat: Seat, task: Chore) -> None:
        event = self._upkeep.event(seat, task, self._seconds())
        if event is not None:
            if isinstance(event, Seen):
                self._unsaved += len(event.places) // PLACES
            self._propose(seat, task, event)

    def _join(self, seat: Seat, command: Join) -> None:
        if seat.member is not None:
            self._join_again(seat, command)
            return
        port = None if seat.address is None else seat.address[1]
        events = self._rules.join(seat.host, port, command, self._seconds())
        self._rules.joining(seat.host)
        self._rules.naming(seat, cast(Joined, events[-1]))
        self.seats.keep(seat)
        for released in events[:-1]:
            self._appender.add(released, None)
        self._propose(seat, command, events[-1])

    def _join_again(self, seat: Seat, command: Join) -> None:
        """A client may repeat a join whose answer was lost; not so fast that it floods a forged address with names."""
        member = self._member(seat)
        self._rules.join_again(member, command)
        now = self._seconds()
        if 0 <= now - seat.repeated < REPEAT_SECONDS:
            self._drop(seat, command)
            return
        seat.repeated = now
        self._answer(seat, command)

    def _propose(self, seat: Seat, task: Task, event: Event) -> None:
        """Append this event. What becomes of it is the answer."""
        seat.busy += 1
        seat.batch = self._appender.entry if type(task) in IN_BATCH else 0
        self._appender.add(event, (seat, task))

    def _given_up(self, waiter: Waiter) -> None:
        """What this one waits for was surely not stored."""
        seat, task = waiter
        if isinstance(task, Chore):
            self._upkeep.not_stored(task)
        self._drop(seat, task)
        self._free(seat, task)

    # Applying

    def _on_entry(self, entry: Entry) -> None:
        """Fold one entry of the log, and answer those of its commands that were submitted here."""
        waiters = self._appender.arrived(entry.entry_id) or repeat(None)
        if self._broken or not self._snapshots.begin(entry):
            return
        for event, waiter in zip(entry.events, waiters, strict=False):
            try:
                outcome = self._apply(event, waiter)
            except Exception:
                self._break(Failure())
                return
            if outcome is None and type(event) is not Seen:
                self._snapshots.refused(entry, event)
            if waiter is not None:
                self._settle(waiter, outcome)
        self._appender.check_drained()
        self.subscriptions.wake()
        self._unsaved += len(entry.events)
        if self._unsaved >= SNAPSHOT_EVENTS and self._ticker.running:
            self._save()

    def _apply(self, event: Event, waiter: Waiter | None) -> Outcome:
        """Fold one event, and seat whom it makes a member, or one no longer."""
        if type(event) is Said:
            return self.group.apply(event)
        leaver = self.group.members.get(event.member) if type(event) is Left else None
        outcome = self.group.apply(event)
        if outcome is not None:
            if leaver is not None:
                self._part(leaver, waiter)
            elif type(event) is Joined:
                member = self.group.members[event.member]
                self.seats.joined(member, waiter[0] if waiter else None)
                if waiter:
                    self._rules.pace.joined(member, self._seconds())
        return outcome

    def _part(self, leaver: Member, waiter: Waiter | None) -> None:
        """Somebody is a member no longer. A connection that did not ask for that, on this node, is told so."""
        seat = self.seats.live.get(leaver.id)
        self.seats.left(leaver)
        if waiter:
            self._rules.pace.left(leaver, self._seconds())
        asked = waiter is not None and isinstance(waiter[1], Leave)
        if seat is not None and not asked:
            client, seat.client = seat.client, None
            self._displace(client, "You are no longer in the group: join again.")

    def _settle(self, waiter: Waiter, outcome: Outcome) -> None:
        seat, task = waiter
        if not isinstance(task, Chore):
            if outcome is not None:
                self._answer(seat, task)
            else:
                self._settle_refused(seat, task)
        self._free(seat, task)

    def _settle_refused(self, seat: Seat, command: Command) -> None:
        """What came before it in the log left no room for a command; it may be this very command."""
        try:
            done = seat.member is not None and self._rules.is_done(seat.member, command)
        except IllegalMessage as why:
            self._refuse(seat, command, why)
            return
        if done:
            self._answer(seat, command)
        else:
            self._refuse(seat, command, _lost(command))

    def _free(self, seat: Seat, done: Task) -> None:
        """Go on to what a seat has asked meanwhile."""
        seat.busy -= 1
        kind = type(done)
        if kind is Join or kind is Rename:
            self._rules.named(seat)
            if kind is Join:
                self._rules.joined(seat.host)
        while seat.queue and (not seat.busy or self._joins_batch(seat, seat.queue[0])):
            task = seat.queue.pop(0)
            if not self._start(seat, task):
                seat.queue.insert(0, task)
                break
            self._queued -= 1
        if seat.member is None:
            self.seats.clear(seat)

    def _answer(self, seat: Seat, command: Command) -> None:
        if seat.client is not None:
            try:
                seat.client.answered(seat, command)
            except Exception:
                self.survive("answering")

    def _refuse(self, seat: Seat, task: Task, why: IllegalMessage) -> None:
        self.refused += 1
        self._tell(seat, task, lambda client, command: client.refused(seat, command, why))

    def _drop(self, seat: Seat, task: Task) -> None:
        self.dropped += 1
        self._tell(seat, task, lambda client, command: client.dropped(seat, command))

    def _tell(self, seat: Seat, task: Task, tell: Callable[[IClient, Command], None]) -> None:
        if seat.client is not None and not isinstance(task, Chore):
            try:
                tell(seat.client, task)
            except Exception:
                self.survive("refusing")

    def _displace(self, client: IClient | None, why: str) -> None:
        """Tell a client that its seat is no longer its own."""
        if client is not None:
            try:
                cast(IConnection, client).displaced(why)
            except Exception:
                self.survive("taking a seat away")

    def _break(self, failure: Failure) -> None:
        """The state can no longer be trusted: nothing is answered, or appended, from here on."""
        if not self._broken:
            self._broken = True
            self._logger.failure("The state can no longer be trusted; stopping", failure)
            self._fatal()

    @inlineCallbacks
    def _save(self) -> Generator[Deferred[Any], Any, None]:
        """Save a snapshot, and let the log forget what nothing needs any more."""
        if self._saving:
            return
        self._saving, self._unsaved = True, 0
        try:
            position = self._snapshots.position
            first, state = self._snapshots.dump()
            yield self._log.save_snapshot(position, SNAPSHOT_VERSION, state)
            yield self._log.trim(first, position + 1)
        except LogError as error:
            self._logger.error("No snapshot could be saved, which is tried again later: {error}", error=str(error))
        except Exception:
            self.survive("saving a snapshot")
        finally:
            self._saving = False

    # Every second

    def _tick(self) -> None:
        try:
            now = self._seconds()
            self._upkeep.tick(now)
            self.subscriptions.drop_stalled(self.settings.stall)
            if now // DAY != self._day:
                self._day = now // DAY
                if self._unsaved:
                    self._save()
        except Exception:
            self.survive("doing what is done every second")


def _lost(command: Command) -> IllegalMessage:
    """Why a command was refused that would have been fine a moment before."""
    if type(command) is Share:  # its member may just have renamed itself: the file was not brought in vain
        return NotNow("Your name was changed, or taken, at this very moment: try again.")
    return IllegalMessage("Somebody else was first.")
