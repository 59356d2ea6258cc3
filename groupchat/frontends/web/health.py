"""GET /healthz: whether what is said can be stored. GET /metrics: figures, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from groupchat.frontends.web import answers
from groupchat.frontends.web.answers import PRIVATE, Answer, Refusal
from groupchat.frontends.web.request import Request
from groupchat.frontends.web.site import Route, Routes, Site

MISSING = "There are no figures: whoever runs the server has to install prometheus-client (groupchat[web])."


def healthz(site: Site, request: Request) -> Answer:
    if site.service.is_well():
        return Answer(200, b"ok\n", answers.TEXT)
    return Answer(503, b"messages cannot be stored\n", answers.TEXT)


def metrics(site: Site, request: Request) -> Answer:
    try:
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.exposition import CONTENT_TYPE_LATEST
    except ImportError:
        raise Refusal(501, MISSING) from None
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures(site))
    return Answer(200, generate_latest(registry), CONTENT_TYPE_LATEST.encode(), PRIVATE)


class _Figures:
    """What is collected when it is asked for."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def describe(self) -> list[Any]:
        return []

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily

        for name, value, what in self._gauges():
            yield GaugeMetricFamily(f"groupchat_{name}", what, value)
        for name, value, what in self._counters():
            yield CounterMetricFamily(f"groupchat_{name}", what, value)
        count, seconds = self._site.service.commits()
        what = "Entries of one or more events that were stored, and the time that took."
        yield SummaryMetricFamily("groupchat_commit_seconds", what, count, seconds)

    def _gauges(self) -> Iterator[tuple[str, float, str]]:
        site, group, seats = self._site, self._site.group, self._site.service.seats
        members = group.members.values()
        live = sum(map(seats.is_connected, members))
        yield "members", len(members), "Members of the group."
        yield "live", live, "Members that are connected now."
        yield "lines_behind", sum(map(group.behind, members)), "Lines that wait for members, in all."
        yield "connections", len(site.registry.connections), "Connections over TCP and HTTP."
        yield "event_streams", site.sessions.streams(), "Open streams of events over HTTP."
        yield "reactor_lag_seconds", site.lag, "How late the daemon last was with what it does every second."

    def _counters(self) -> Iterator[tuple[str, float, str]]:
        site, service = self._site, self._site.service
        yield "appended", site.group.history.head, "Lines of the group, since it began."
        yield "delivered", service.subscriptions.delivered, "Lines passed on to live readers."
        yield "refused", service.refused, "What was asked and refused."
        yield "dropped", service.dropped, "What was asked and had no answer: there was too much at once."
        yield "connections_refused", site.registry.refused, "Connections for which there was no room."
        yield "requests", site.requests, "Requests over HTTP."


def routes() -> Routes:
    return {"/healthz": {"GET": Route(healthz, open=True)}, "/metrics": {"GET": Route(metrics)}}
