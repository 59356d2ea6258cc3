"""GET /healthz: are messages stored? GET /metrics: metrics for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from groupchat.frontends.web import answers
from groupchat.frontends.web.answers import PRIVATE, Answer, Refusal
from groupchat.frontends.web.request import Request
from groupchat.frontends.web.site import Route, Routes, Site

MISSING = "There are no metrics: whoever runs the server has to install prometheus-client (groupchat[web])."


async def healthz(site: Site, request: Request) -> Answer:
    await site.service.probe()
    if site.service.is_well():
        return Answer(200, b"ok\n", answers.TEXT)
    return Answer(503, b"messages cannot be stored\n", answers.TEXT)


def load() -> None:
    """Import what the metrics need: at the first request it would keep everybody waiting."""
    with suppress(ImportError):
        import prometheus_client  # noqa: F401


def metrics(site: Site, request: Request) -> Answer:
    try:
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.exposition import CONTENT_TYPE_LATEST
    except ImportError:
        raise Refusal(501, MISSING) from None
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Metrics(site))
    return Answer(200, generate_latest(registry), CONTENT_TYPE_LATEST.encode(), PRIVATE)


class _Metrics:
    """A collector of prometheus_client: it reads everything at the moment of the request."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily

        for name, value, description in self._gauges():
            yield GaugeMetricFamily(f"groupchat_{name}", description, value)
        for name, value, description in self._counters():
            yield CounterMetricFamily(f"groupchat_{name}", description, value)
        count, seconds = self._site.service.commits()
        description = "Log entries stored, each of one or more events, and the time spent on them."
        yield SummaryMetricFamily("groupchat_commit_seconds", description, count, seconds)

    def _gauges(self) -> Iterator[tuple[str, float, str]]:
        site, group, seats = self._site, self._site.group, self._site.service.seats
        live = sum(seat.client is not None for seat in seats.live.values())
        yield "members", len(group.members), "Members of the group."
        yield "live", live, "Members connected now."
        yield "lines_behind", group.all_behind(), "Lines waiting for members, in total."
        yield "connections", len(site.registry.connections), "Open connections over TCP and HTTP."
        yield "event_streams", site.sessions.streams(), "Open event streams over HTTP."
        yield "reactor_lag_seconds", site.deadlines.lag, "Delay of the last once-a-second task."

    def _counters(self) -> Iterator[tuple[str, float, str]]:
        site, service = self._site, self._site.service
        yield "appended", site.group.history.head, "Lines of the group since it began."
        yield "delivered", service.subscriptions.delivered, "Lines delivered to live readers."
        yield "refused", service.refused.total(), "Commands refused."
        yield "dropped", service.dropped, "Commands dropped without an answer, because of overload."
        yield "connections_refused", site.registry.refused, "Connections refused because of a limit."
        yield "requests", site.requests, "HTTP requests."


def routes() -> Routes:
    return {"/healthz": {"GET": Route(healthz, open=True)}, "/metrics": {"GET": Route(metrics)}}
