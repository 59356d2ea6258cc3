"""What operators do on one live connection: their password, their commands, and the answers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from twisted.internet.defer import Deferred, ensureDeferred

from groupchat.core.commands import Command, Erase, Promote
from groupchat.core.errors import IllegalMessage, NotNow
from groupchat.core.group import Member
from groupchat.frontends.connections import ConnectionRegistry, IConnected
from groupchat.frontends.guests import CANNOT
from groupchat.frontends.lines import listings
from groupchat.frontends.lines.answers import Answers
from groupchat.frontends.operators import NO_PASSWORDS, WRONG, erase, is_member
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
            asked = operators.command(line, partial(is_member, self._service.group))
        except IllegalMessage as why:
            self._answers.refuse(line.id, why)
            return
        match asked:
            case ShowTopic():
                self._answers.reply(line.id, [listings.topic(self._service)])
            case GivePassword():
                self._check_password(line.id, member.name, asked.password)
            case Erase() if member.operator:
                asked.by = member.name
                ensureDeferred(self._erase(asked))
            case _:
                self._submit(asked)

    def _check_password(self, client_id: int, name: str, given: bytes) -> None:
        passwords = self._registry.operators
        if not passwords.exist:
            self._answers.refuse(client_id, IllegalMessage(NO_PASSWORDS))
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
            self._answers.refuse(client_id, IllegalMessage(WRONG))
        self._connection.read_soon()

    async def _erase(self, asked: Erase) -> None:
        self._is_erasing = True
        try:
            self._answers.reply(asked.id, await erase(self._service, asked))
        except IllegalMessage as why:
            self._answers.refuse(asked.id, why)
        except Exception:
            self._service.survive("erasing for an operator")
            self._answers.refuse(asked.id, NotNow(CANNOT))
        finally:
            self._is_erasing = False
            self._connection.read_soon()
