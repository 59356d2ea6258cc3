"""What operators do on one live connection: their password, their commands, and the answers."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks

from groupchat.core.commands import Ban, Command, Demote, Erase, Mute, Promote, Unban, Unmute
from groupchat.core.errors import IllegalMessage, NotNow
from groupchat.core.group import Member
from groupchat.core.limits import MAX_ERASED
from groupchat.core.names import normalised
from groupchat.frontends.connections import ConnectionRegistry, IConnected
from groupchat.frontends.guests import CANNOT
from groupchat.frontends.lines import listings
from groupchat.frontends.lines.answers import Answers
from groupchat.service.group_service import GroupService
from groupchat.wire import operators
from groupchat.wire.operators import GivePassword, OperatorLine, ShowTopic


class IReading(IConnected):
    """A connection that waits with its next line while an operator's command is carried out."""

    def read_soon() -> None:
        """Read lines in the next turn of the reactor."""


class Operating:
    """Carries out the lines of operators on one connection. `submit` submits a command of its seat."""

    def __init__(
        self, registry: ConnectionRegistry, connection: IReading, answers: Answers, submit: Callable[[Command], None]
    ) -> None:
        self._registry = registry
        self._service = registry.group_service
        self._connection = connection
        self._answers = answers
        self._submit = submit
        self._check: Deferred[bool] | None = None  # of a password, until it is done
        self._is_erasing = False

    @property
    def is_checking(self) -> bool:
        """True while a password waits to be checked."""
        return self._check is not None

    @property
    def is_busy(self) -> bool:
        """True while the next line has to wait."""
        return self.is_checking or self._is_erasing

    def stop(self) -> None:
        """Wait for nothing: the seat is gone."""
        check, self._check = self._check, None
        if check is not None:
            check.cancel()

    def ask(self, line: OperatorLine, member: Member) -> None:
        """Carry out a line of a member, who may be no operator."""
        try:
            asked = operators.command(line, self._is_member)
        except IllegalMessage as why:
            self._answers.refuse(line.id, why)
            return
        match asked:
            case ShowTopic():
                self._answers.reply(line.id, [listings.topic(self._service)])
            case GivePassword():
                self._check_password(line.id, member.name, asked.password)
            case Erase() if member.operator:
                self._erase(asked, member.name)
            case _:
                self._submit(asked)

    def _is_member(self, name: str) -> bool:
        try:
            return normalised(name).key in self._service.group.by_key
        except IllegalMessage:
            return False

    def _check_password(self, client_id: int, name: str, given: bytes) -> None:
        passwords = self._registry.operators
        if not passwords.exist:
            self._answers.refuse(client_id, IllegalMessage("No password makes anybody an operator here."))
            return
        self._check = passwords.check_of(self._connection.host, self._connection, name, given)
        self._check.addCallback(self._checked, client_id)

    def _checked(self, is_right: bool, client_id: int) -> None:
        if self._check is None:
            return  # the seat is gone
        self._check = None
        if is_right:
            self._submit(Promote(client_id))
        else:
            self._answers.refuse(client_id, IllegalMessage("That is not the password of an operator."))
        self._connection.read_soon()

    @inlineCallbacks
    def _erase(self, asked: Erase, by: str) -> Generator[Deferred[int], int, None]:
        self._is_erasing = True
        try:
            count = yield erase(self._service, asked, by)
            words = [f"Erased: {count} {'text' if count == 1 else 'texts'}. The daemon has no file with it any more."]
            if any(record.get("did") == "backup" for record in self._service.audit.last(MAX_ERASED)):
                words.append("Backups that were made before may have it: ask whoever runs this group.")
            self._answers.reply(asked.id, words)
        except IllegalMessage as why:
            self._answers.refuse(asked.id, why)
        except Exception:
            self._service.survive("erasing for an operator")
            self._answers.refuse(asked.id, NotNow(CANNOT))
        finally:
            self._is_erasing = False
            self._connection.read_soon()


def done(command: Command) -> list[str]:  # noqa: PLR0911 - one for each
    """Return the answer to a command that took effect. What becomes a line for everybody needs none."""
    match command:
        case Promote():
            return ["You are an operator now: /help lists what you can do."]
        case Demote():
            return ["You are no operator now."]
        case Mute(name):
            return [f"{name} may only read now, until /unmute {name}."]
        case Unmute(name):
            return [f"{name} may write again."]
        case Ban(whom):
            return [f"{whom} is banned, until /unban {whom}" + (" or the time is over." if command.seconds else ".")]
        case Unban(whom):
            return [f"{whom} is no longer banned."]
    return []


@inlineCallbacks
def erase(service: GroupService, asked: Erase, by: str) -> Generator[Deferred[Any], Any, int]:
    """Erase a range of lines, a portion at a time, until no file has their texts any more. Return how many there were.

    Raise IllegalMessage if there was none. `by` is the name of the operator.
    """
    count, first, refused = 0, asked.first, IllegalMessage("")
    while first <= asked.last:
        portion = Erase(first, asked.last, by=by)
        try:
            yield service.operate(portion)
            count += portion.count
        except IllegalMessage as why:
            refused = why
            if not portion.upto:
                break
        first = portion.upto + 1
    if not count:
        raise refused
    yield service.eraser.done()
    return count
