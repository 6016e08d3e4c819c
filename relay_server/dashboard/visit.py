"""Who visits a page, and what every page keeps to.

**Hosts.** Only names that are this server's are answered: a page of another site whose name is
pointed here (DNS rebinding) gets nothing.

**Cookies.** A session's secret is in the cookie alone; of it the store has a digest. Where people
reach the server over TLS, the cookie says so (`__Host-`, `Secure`; below a path of a host that is
shared, `__Secure-`, for that path). Without TLS there is a dashboard on this machine alone.

**Forms.** A request that changes something comes from a page of this origin: the browser says so
(`Sec-Fetch-Site`, `Origin`), and the form brings what only the page could know. A `GET` never acts.

**Foreign text.** All that strangers wrote is text in a page: nothing of it is markup, and the
policy lets no page run, load or send to anything but what is this server's own.

**Compression.** How far a page shrinks tells whether a guess that somebody put into it stands in it
already (BREACH). Another site can lead a browser here again and again, with guesses in the query,
and who sees the lengths on the way reads the page bit by bit. So a page with a query is compressed
only where a person or a page of ours leads to it, not where a script asks for it once more; and
what forms bring is masked anew in each page, so that it never repeats, whatever a proxy compresses.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit

from aiohttp import web

from relay_http.addresses import is_inside, is_loopback
from relay_protocol.errors import RelayError
from relay_server.auth import digest
from relay_server.dashboard.rendering import render
from relay_server.errors import Forbidden, InvalidValue, Unauthorized
from relay_server.live.positions import format_positions
from relay_server.operations import Caller
from relay_server.operations.refused import refused_lately
from relay_server.operations.subscriptions import dead_of
from relay_server.operations.versions import of_all
from relay_server.people import Session
from relay_server.web.access import address, refusal
from relay_server.web.api import read_body
from relay_server.web.context import CONTEXT, Context
from relay_terminal.retold import told
from relay_terminal.words import N_, _

USE_AGAIN_MS = 60_000  # between two notes that a session is used
MAX_AGENT_CHARS = 200  # of what a browser calls itself
MAX_FORM_BYTES = 65_536  # of a form of the dashboard; more: 422
MAX_FORM_FIELDS = 32  # of a form; more: 422
TOO_OLD = N_("the page is too old: load it again, and press once more")
FORWARDED = ("X-Forwarded-For", "Forwarded", "Via")  # what proxies add

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
        " connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none';"
        " require-trusted-types-for 'script'; trusted-types relay-partials"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "clipboard-write=(self)",
    "Cache-Control": "private, no-store",
}


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who is logged in.

    Attributes:
        session: Theirs.
        form_key: What the forms of their pages bring, as `mask` makes it.
        position: Of the feed: behind it is all that the page does not show yet.
        dead: Deliveries that were given up.
        refused: Requests that were, lately.
        version: Another one once something of that may be another; the feed says it, too.
        who: What they may see and do.
    """

    session: Session
    form_key: str
    who: Caller
    position: str
    version: str
    dead: int
    refused: int


class NotLoggedIn(Exception):
    """Nobody is: they are to log in, and go on at a path then."""

    def __init__(self, then: str) -> None:
        super().__init__(then)
        self.then = then


Page = Callable[[web.Request, Visitor], Awaitable[web.StreamResponse]]
Fields = dict[str, str]
Act = Callable[[web.Request, Visitor, Fields], Awaitable[web.StreamResponse]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def page(show: Page) -> Handler:
    """A page for whoever is logged in; others are sent to log in, and come back."""

    async def handle(request: web.Request) -> web.StreamResponse:
        visitor = await find_visitor(request)
        if visitor is None:
            raise NotLoggedIn(request.path_qs)
        return await show(request, visitor)

    return guarded(handle)


def form(act: Act, limit: int = MAX_FORM_BYTES, most: int = MAX_FORM_FIELDS) -> Handler:
    """What a form of a page does, once: it answers with where to go on.

    Args:
        act: Is given the form's fields.
        limit: Bytes that the form may have.
        most: Fields that it may have.
    """

    async def handle(request: web.Request) -> web.StreamResponse:
        visitor = await find_visitor(request)
        if visitor is None:
            raise NotLoggedIn("/")
        check_origin(request)
        fields = await read_form(request, limit, most)
        if not hmac.compare_digest(unmask(fields.get("form_key", "")), unmask(visitor.form_key)):
            raise Forbidden(_(TOO_OLD))
        return await act(request, visitor, fields)

    return guarded(handle)


def guarded(handle: Handler) -> Handler:
    """Answer under our names; errors are pages, headers are ours."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response: web.StreamResponse
        try:
            check_host(request)
            response = await handle(request)
        except Unauthorized as exc:
            response = explain(request, refusal(request.app[CONTEXT], exc, address(request)))
        except RelayError as exc:
            response = explain(request, exc)
        except NotLoggedIn as exc:
            response = see(f"/login?{urlencode({'then': exc.then})}")
        if response.headers.get("Location", "").startswith("/"):
            response.headers["Location"] = (
                request.app[CONTEXT].settings.dashboard_path + response.headers["Location"]
            )
        if not response.prepared:
            for name, value in HEADERS.items():
                response.headers.setdefault(name, value)
            if response.content_type == "text/html" and is_compressible(request):
                response.enable_compression()
        return response

    return answer


def explain(request: web.Request, error: RelayError) -> web.Response:
    """A page that says what is wrong, and leads back."""
    status = error.status_hint or 500
    text, hint = told(error)
    return render(request, "message.html", status=status, code=status, text=text, hint=hint)


async def find_visitor(request: web.Request) -> Visitor | None:
    """Who is logged in, by the cookie; None for nobody."""
    context = request.app[CONTEXT]
    secret = request.cookies.get(cookie_name(context), "")
    if not secret:
        return None
    key, now = digest(secret.encode("utf-8", "surrogateescape")), context.clock.unix_ms()
    session = await context.store.session(key, now)
    if session is None:
        return None
    tokens = context.store.catalog.tokens.values()
    token = next((token for token in tokens if token.name == session.token), None)
    if token is None and session.token is not None:
        return None  # it was revoked since
    if now - session.used_at > USE_AGAIN_MS:
        await context.store.use_session(key, address(request), now)
    who = Caller(context, token, address(request))
    newest = {channel.name: context.store.newest(channel.number) for channel in who.channels()}
    return Visitor(
        session,
        mask(form_key(secret)),
        who,
        position=format_positions(newest),
        version=of_all(who),
        dead=await dead_of(who),
        refused=refused_lately(who),
    )


async def log_in(request: web.Request, response: web.Response, token: str | None) -> None:
    """Begin a session, and have the answer bring its cookie."""
    context, secret = request.app[CONTEXT], secrets.token_urlsafe(32)
    now, agent = context.clock.unix_ms(), request.headers.get("User-Agent", "")
    await context.store.begin_session(
        Session(digest(secret.encode()), token, now, now, address(request), agent[:MAX_AGENT_CHARS])
    )
    set_cookie(context, response, cookie_name(context), secret)


def set_cookie(
    context: Context, response: web.Response, name: str, value: str, keep_s: int | None = None
) -> None:
    """A cookie that no script reads, and that goes with links from elsewhere but no forms."""
    response.set_cookie(
        name,
        value,
        secure=is_secure(context),
        httponly=True,
        samesite="Lax",
        path=cookie_path(context),
        max_age=keep_s,
    )


def cookie_path(context: Context) -> str:
    """Below which browsers send our cookies: on a host that is shared, no further."""
    return context.settings.dashboard_path or "/"


def is_secure(context: Context) -> bool:
    """True if people reach the server over TLS."""
    return context.settings.dashboard.startswith("https://")


def cookie_name(context: Context) -> str:
    """Of a session's cookie: browsers take a prefix with TLS only, `__Host-` for whole hosts."""
    if not is_secure(context):
        return "relay-session"
    return "__Secure-relay" if context.settings.dashboard_path else "__Host-relay"


def form_key(secret: str) -> bytes:
    """What the forms of a session's pages bring: the cookie's secret does not follow from it."""
    return hmac.digest(secret.encode("utf-8", "surrogateescape"), b"form", "sha256")


def mask(key: bytes) -> str:
    """A form key as it stands in a page: random, and what together with that gives the key."""
    pad = secrets.token_bytes(len(key))
    return (pad + _xor(pad, key)).hex()


def unmask(shown: str) -> bytes:
    """The key that was masked; something else of what never was one."""
    try:
        raw = bytes.fromhex(shown)
    except ValueError:
        return b""
    return _xor(raw[: len(raw) // 2], raw[len(raw) // 2 :])


def is_compressible(request: web.Request) -> bool:
    """True unless another site may have chosen what the page repeats."""
    from_here = request.headers.get("Sec-Fetch-Site") in ("same-origin", "none")
    is_page = request.headers.get("Sec-Fetch-Dest") == "document"
    return not request.query_string or (from_here and is_page)


async def read_form(
    request: web.Request, limit: int = MAX_FORM_BYTES, most: int = MAX_FORM_FIELDS
) -> Fields:
    """The fields of a form."""
    body = await read_body(request, limit)
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=most)
    except ValueError as exc:
        raise InvalidValue(_("this is no form of a page")) from exc
    return dict(pairs)


def check_host(request: web.Request) -> None:
    """Raise `Forbidden` unless the browser asked for a name that the dashboard has."""
    context = request.app[CONTEXT]
    host = _name_in(request.headers.get("Host", ""))
    settings = context.settings
    known = {urlsplit(settings.dashboard).hostname, settings.host, "localhost"}
    is_known = host in known or is_loopback(host)
    if not is_known and settings.dashboard_url:
        raise web.HTTPNotFound  # under other names there is none
    if not is_known:
        raise Forbidden(
            _(
                "this relay is not known by that name: set RELAY_SERVER_PUBLIC_URL to the URL by"
                " which people reach it"
            )
        )
    if not is_secure(context) and not _is_from_here(request):
        raise Forbidden(
            _(
                "the dashboard is not shown over plain HTTP, but for this machine itself: set"
                " RELAY_SERVER_PUBLIC_URL to the https:// URL of the relay"
            )
        )


def check_origin(request: web.Request) -> None:
    """Raise `Forbidden` unless a page of this origin sent the request."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is None:  # an older browser
        origin = request.headers.get("Origin", "").partition("://")[2]
        site = "same-origin" if origin == request.headers.get("Host") else "cross-site"
    if site != "same-origin":
        raise Forbidden(_("a page of another site asked for this: nothing was done"))


def local(path: str) -> str:
    """Where to go on, on this origin alone."""
    is_local = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if is_local else "/"


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=False))


def _name_in(host: str) -> str:
    """The name that a `Host` holds, without its port; empty for what is no host."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_from_here(request: web.Request) -> bool:
    """True if this machine itself asks: behind a proxy that is not known anybody may be."""
    peer, proxies = request.remote or "", request.app[CONTEXT].settings.trusted_proxies
    is_forwarded = any(name in request.headers for name in FORWARDED)
    return is_loopback(address(request)) and (not is_forwarded or is_inside(peer, proxies))


def see(path: str) -> web.Response:
    """Go on at another page."""
    return web.Response(status=303, headers={"Location": path})
