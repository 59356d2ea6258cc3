"""The way from the head of a request to its handler, or to a refusal."""

from __future__ import annotations

from functools import partial
from urllib.parse import unquote

from groupchat.core.limits import MAX_WEB_TARGET
from groupchat.frontends.web.answers import Refusal
from groupchat.frontends.web.request import Request
from groupchat.frontends.web.site import Route, Site


def dispatch(site: Site, request: Request) -> None:
    """Set the request's handler; or start it, if it reads the body itself. Raise Refusal, or IllegalMessage."""
    site.requests += 1
    site.access.resolve_proxy(request)
    _check_head(request)
    site.access.check_origin(request)
    route = _find_route(site, request)
    _check_ban(site, request, route)
    check = None if route.open else site.access.check_password(request)
    if check is None:
        _begin(site, request, route)
    else:
        request.postpone(check, partial(_begin_later, site, request, route))


def _begin_later(site: Site, request: Request, route: Route) -> None:
    """Begin a request whose password was checked, which may have taken some time."""
    _check_ban(site, request, route)
    _begin(site, request, route)


def _begin(site: Site, request: Request, route: Route) -> None:
    site.backlog.check(request.peer)
    if route.takes:
        _check_content(request)
    if route.takes < 0:
        route.handler(site, request)
        return
    if request.is_conditional and request.method == b"POST":
        request.check_version(None)  # what is posted to has no versions
    request.limit(route.takes)
    request.handler = route.handler
    if request.length != 0:
        request.proceed()


def _check_ban(site: Site, request: Request, route: Route) -> None:
    """Raise Excluded if the address is banned, or the key. Who has such a key may load the page, which tells why."""
    moderation = site.group.moderation
    if moderation.bans and request.path != b"/healthz":
        moderation.check(request.peer, None, None if route.open else request.secret or None, site.service.seconds())


def _check_head(request: Request) -> None:
    if len(request.uri) > MAX_WEB_TARGET:
        raise Refusal(414, "That address is too long.")
    if (request.text("Expect") or "100-continue").lower() != "100-continue":
        raise Refusal(417, "This server understands no expectation but 100-continue.")


def _find_route(site: Site, request: Request) -> Route:
    path = request.path.decode("latin-1")
    routes = site.routes.get(path)
    if routes is None:
        folder, slash, _ = path[1:].partition("/")
        routes = site.routes.get(f"/{folder}/*") if slash else None
        if routes is None:
            raise Refusal(404, "There is nothing here.")
        request.name = _file_name(request.path[len(folder) + 2 :])
    method = request.method.decode("ascii")
    if "OPTIONS" in routes:  # of tus, which lets those use it who can only say GET and POST
        method = request.text("X-HTTP-Method-Override") or method
    route = routes.get(method) or (routes.get("GET") if method == "HEAD" else None)
    if route is None:
        allowed = [*routes, *(["HEAD"] if "GET" in routes else [])]
        raise Refusal(405, "That cannot be done here.", ((b"Allow", ", ".join(allowed).encode()),))
    request.route_headers = route.headers
    return route


def _file_name(path: bytes) -> str:
    try:
        return unquote(path.decode("ascii"), errors="strict")
    except UnicodeDecodeError:
        raise Refusal(400, "That name is not UTF-8.") from None


def _check_content(request: Request) -> None:
    """Raise Refusal if the body is not simply what is to be said or shared: RFC 9110, sections 8.4 and 15.5.16."""
    if (request.text("Content-Encoding") or "identity").lower() != "identity":
        raise Refusal(415, "Send it as it is, without Content-Encoding.", ((b"Accept-Encoding", b"identity"),))
    if request.content_type in ("multipart/form-data", "multipart/byteranges"):
        raise Refusal(415, "Send it alone, not as a part of a form: curl -T FILE, or curl -d TEXT.")
