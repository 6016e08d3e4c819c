"""What the server listens on, and which application answers there.

    public port     ─▶ Front ─┬─ webhooks
                              └─▶ public_app: tunnel, API, invitations, dashboard
    dashboard port  ─▶ Front ───▶ dashboard_app and nothing else, where there is such a port
    ops port        ──────────▶ ops_app: readiness, metrics
    control.sock    ──────────▶ control_app: the API, for commands on the host

`Front` keeps the deadlines and bounds of both public ports, and lends connections to aiohttp.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Middleware

from relay_server import tls
from relay_server.checks import EVERYWHERE
from relay_server.dashboard import pages
from relay_server.errors import InvalidValue
from relay_server.files import PREFIX, SOCKET_NAME, short_path
from relay_server.stopping import Ending
from relay_server.web import api, gateway, guests, openapi
from relay_server.web.access import ON_HOST, errors_as_json
from relay_server.web.context import CONTEXT, Context
from relay_server.web.feed import feed
from relay_server.web.front import Front
from relay_server.web.server import (
    FEED_PATH,
    HEADER_DEADLINE_S,
    BoundedRunner,
    forbid_sniffing,
    hide_server,
    keep_if_lent,
    limit_concurrency,
    live,
    metrics,
    ready,
    track_request,
)

BACKLOG = 1_024  # connections that wait to be accepted; the kernel refuses more
PORT_FLAGS = ("port", "ops_port")  # what `serve` has options for
OF_WEBHOOKS = ("webhook", "c")  # what their paths begin with


async def listen(
    stack: AsyncExitStack, context: Context, ending: Ending
) -> tuple[Sequence[asyncio.Server], Front, Sequence[BoundedRunner]]:
    """The public port first, what takes its connections, and all that listens through aiohttp."""
    settings, problem = context.settings, ""
    control = await serve_control(stack, context, settings.data_dir / SOCKET_NAME)
    ops = await _runner(stack, ops_app(context))
    try:
        with _explained(settings.ops_host, settings.ops_port, "ops_port"):
            host = _interfaces(settings.ops_host)
            await web.TCPSite(ops, host, settings.ops_port, backlog=BACKLOG).start()
    except InvalidValue as exc:
        problem = str(exc)  # the other port may be in use, too: who starts a server learns of both
    app = public_app(context, with_dashboard=not settings.dashboard_port)
    check_base(settings.base_path, app)
    public = await _runner(stack, app)
    front, runners = Front(context, public.handler), [public, ops, control]
    ports: dict[str, Callable[[], asyncio.Protocol]] = {"port": front}
    if settings.dashboard_port:
        runners.append(await _runner(stack, dashboard_app(context)))
        ports["dashboard_port"] = front.door_to(runners[-1].handler)
    try:
        servers = await _listen_publicly(stack, context, ports, ending)
    except InvalidValue as exc:
        raise InvalidValue("; ".join(filter(None, (str(exc), problem)))) from exc
    if problem:
        raise InvalidValue(problem)
    return servers, front, runners


def public_app(context: Context, *, with_dashboard: bool = True) -> web.Application:
    """What the world reaches beside webhooks, which `Front` takes."""
    app = _lent_app(context)
    app.router.add_get("/connect", gateway.connect)
    described = api.routes + api.public_routes
    app.add_routes(route.definition() for route in described)
    guests.add_routes(app)
    app.router.add_get(openapi.PATH, openapi.handler(described))
    app.router.add_route("GET", FEED_PATH, feed)
    if with_dashboard:
        app.add_routes(pages.routes)
    return app


def dashboard_app(context: Context) -> web.Application:
    """The dashboard, on a port of its own."""
    app = _lent_app(context)
    app.add_routes(pages.routes)
    return app


def ops_app(context: Context) -> web.Application:
    """What the operator's own machines reach."""
    app = _app(context, errors_as_json)
    app.router.add_get("/health/live", live)
    app.router.add_get("/health/ready", ready)
    app.router.add_get("/metrics", metrics)
    return app


def control_app(context: Context) -> web.Application:
    """What commands on this host reach, through a socket with file mode 0600."""
    app = _app(context, errors_as_json)
    app[ON_HOST] = True
    app.router.add_get("/health/ready", ready)
    app.add_routes(route.definition() for route in api.routes)
    app.router.add_route("GET", FEED_PATH, feed)
    return app


def check_base(base_path: str, app: web.Application) -> None:
    """Refuse a public URL below which a path could be read in two ways.

    Raises:
        InvalidValue: Its path begins as one of the server's own does.
    """
    first = base_path.split("/")[1:2]
    own = {resource.canonical.split("/")[1] for resource in app.router.resources()}
    if own.union(OF_WEBHOOKS).intersection(first):
        raise InvalidValue(
            f"{PREFIX}PUBLIC_URL: its path begins with /{first[0]}, as paths of the relay itself"
            " do: choose another"
        )


async def serve_control(stack: AsyncExitStack, context: Context, path: Path) -> BoundedRunner:
    """Listen on a Unix socket that only this user may open.

    Raises:
        InvalidValue: The socket cannot be made there.
    """
    runner = await _runner(stack, control_app(context))
    old_mask = os.umask(0o177)  # made with mode 0600, so that there is no moment without it
    try:
        path.unlink(missing_ok=True)  # left by a server that was killed; the lock says it is gone
        with short_path(path) as short:
            await web.UnixSite(runner, short, backlog=BACKLOG).start()
    except OSError as exc:
        raise InvalidValue(f"the control socket {path} cannot be made: {exc.strerror}") from exc
    finally:
        os.umask(old_mask)
    stack.callback(_remove, path)
    return runner


async def _listen_publicly(
    stack: AsyncExitStack,
    context: Context,
    ports: Mapping[str, Callable[[], asyncio.Protocol]],
    ending: Ending,
) -> list[asyncio.Server]:
    """Listen on ports, by the names of their settings, with what makes their protocols."""
    settings, certificate = context.settings, tls.load(context.settings)
    servers = list[asyncio.Server]()
    for name, factory in ports.items():
        port = getattr(settings, name)
        with _explained(settings.host, port, name):
            server = await asyncio.get_running_loop().create_server(
                factory,
                _interfaces(settings.host),
                port,
                ssl=certificate.context if certificate else None,
                backlog=BACKLOG,
                ssl_handshake_timeout=HEADER_DEADLINE_S if certificate else None,
            )
        stack.callback(server.close)
        servers.append(server)
    if certificate is not None:
        renewing = certificate.renew(context.certificate_is_stale)
        ending.watch(stack, "renewal of the certificate", renewing)
    return servers


def _lent_app(context: Context) -> web.Application:
    """What connections are lent to that `Front` takes."""
    app = _app(context, keep_if_lent, errors_as_json, limit_concurrency)
    app.on_response_prepare.append(forbid_sniffing)
    app.router.add_get("/health/live", live)
    return app


def _app(context: Context, *middlewares: Middleware) -> web.Application:
    app = web.Application(middlewares=[track_request, *middlewares])
    app[CONTEXT] = context
    app.on_response_prepare.append(hide_server)
    return app


async def _runner(stack: AsyncExitStack, app: web.Application) -> BoundedRunner:
    runner = BoundedRunner(app)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    return runner


def _remove(path: Path) -> None:
    with suppress(OSError):  # the next start does it, or says why it cannot
        path.unlink(missing_ok=True)


def _interfaces(host: str) -> str | None:
    """What an event loop calls the addresses to listen on; of `::` it would leave IPv4 out."""
    return None if host == EVERYWHERE else host


@contextmanager
def _explained(host: str, port: int, name: str) -> Iterator[None]:
    """Say what to do where an address cannot be listened on."""
    try:
        yield
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            flag = f"--{name.replace('_', '-')} or " if name in PORT_FLAGS else ""
            raise InvalidValue(
                f"port {port} of {host} is in use by another program: stop that,"
                f" or choose another with {flag}{PREFIX}{name.upper()}"
            ) from exc
        # asyncio's words have the address once more; those of a name that is not known are good.
        reason = os.strerror(exc.errno) if exc.errno and exc.errno > 0 else exc.strerror
        raise InvalidValue(f"cannot listen on {host} port {port}: {reason}") from exc
