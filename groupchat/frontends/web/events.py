"""GET /events: the conversation as Server-Sent Events. One stream is one reader.

Events are written to the transport directly, without chunks, and end with the connection: so the same bytes, rendered
once, go to all readers.
"""

from __future__ import annotations

import json

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from groupchat.core.errors import IllegalMessage, RemovedByOperator
from groupchat.core.limits import WEB_BEAT_SECONDS
from groupchat.frontends.connections import writer
from groupchat.frontends.web import answers
from groupchat.frontends.web.answers import Refusal
from groupchat.frontends.web.channel import Channel
from groupchat.frontends.web.conversation import JOIN
from groupchat.frontends.web.request import Request, number
from groupchat.frontends.web.sessions import Session
from groupchat.frontends.web.site import Site
from groupchat.service.subscriptions import IReader, Subscription

RETRY = 1000
"""The milliseconds that a browser waits before it connects again."""

_HEADERS = (
    (b"Content-Type", b"text/event-stream"),
    (b"Cache-Control", b"no-store"),
    (b"X-Accel-Buffering", b"no"),  # nginx then forwards each event at once
)


def events(site: Site, request: Request) -> None:
    """Begin a stream after the last line that the client has seen. Raise Refusal, or IllegalMessage."""
    if request.member is None:
        raise Refusal(403, JOIN)
    last = request.text("Last-Event-ID")
    group = site.group
    after = number(last, 0) if last else request.number("after", group.numbering.after(group.history.head))
    session = site.sessions.use(request.secret, request.peer)
    try:
        session.check_streams()
        if request.method == b"HEAD":
            request.answer(answers.Answer(200, b"", b"text/event-stream"))
            return
        EventStream(site, request.channel, session).begin(min(group.numbering.line(after), group.history.head))
    finally:
        session.released()


@implementer(IReader, IPushProducer)
class EventStream:
    """One stream of events, on a connection of its own."""

    __slots__ = ("_channel", "_session", "_site", "_subscription", "_write")

    def __init__(self, site: Site, channel: Channel, session: Session) -> None:
        self._site = site
        self._channel = channel
        self._session: Session | None = session
        self._subscription: Subscription | None = None
        self._write = writer(channel.transport)

    def begin(self, after: int) -> None:
        """Give what comes after a line."""
        session, site = self._session, self._site
        assert session is not None
        assert session.member is not None
        session.opened(self)
        site.deadlines.set(self.beat, WEB_BEAT_SECONDS)
        # The first id is where the stream begins: a browser that gets nothing more continues from there.
        beginning = b"retry: %d\nid: %d\n\n" % (RETRY, site.group.numbering.after(after))
        missed = b"".join([told for first, told in site.erasures if first <= after])
        self._write(answers.serialized_head(200, _HEADERS) + beginning + missed)
        self._subscription = site.service.subscriptions.watch(session.member, after, self, site.renderer.events)
        self._channel.become(self)

    def give(self, lines: bytes) -> None:
        self._write(lines)

    def beat(self) -> None:
        self._site.deadlines.set(self.beat, WEB_BEAT_SECONDS)
        if not self._channel.is_full:
            self._write(b":\n\n")

    def gone(self, why: IllegalMessage) -> None:
        """Tell the client that the session ended, and close."""
        event = b"removed" if isinstance(why, RemovedByOperator) else b"gone"
        self._end(b"event: %s\ndata: %s\n\n" % (event, json.dumps(str(why)).encode()))

    def stop(self) -> None:
        """Tell the client that the daemon stops, and close."""
        self._end(b"event: stopping\ndata: {}\n\n")

    def _end(self, last: bytes) -> None:
        if self._subscription is not None:
            self.lost()
            self._write(last)
            self._channel.finish()

    def drop(self) -> None:
        """Close at once: the client takes nothing."""
        self.lost()
        self._channel.drop()

    def lost(self) -> None:
        """End the stream without a last event."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            self._site.service.subscriptions.close(subscription)
            self._site.deadlines.set(self.beat, 0)
        session, self._session = self._session, None
        if session is not None:
            session.closed(self)

    # IPushProducer

    def pauseProducing(self) -> None:
        if self._subscription is not None:
            self._subscription.pauseProducing()

    def resumeProducing(self) -> None:
        if self._subscription is not None:
            self._subscription.resumeProducing()

    stopProducing = lost
