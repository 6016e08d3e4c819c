"""The composition root: the only module that knows every part."""

from __future__ import annotations

import asyncio
import ctypes
import dataclasses
import errno
import functools
import gc
import os
import resource
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from relay_protocol.errors import RelayError
from relay_server.auth import lets_nobody_send
from relay_server.canary import Canary, own_port
from relay_server.chatwoot.away import HandOffs
from relay_server.chatwoot.messages import Messages
from relay_server.clock import SystemClock, until_next
from relay_server.configs import ChannelConfig
from relay_server.delivery.backoff import STORE_RETRY_S, StoreBackoff
from relay_server.delivery.hub import Hub
from relay_server.delivery.upkeep import Upkeep
from relay_server.delivery.url.allow import Allowlist
from relay_server.delivery.url.forwards import Forwards
from relay_server.errors import InvalidValue, StoreBroken, StoreUnavailable
from relay_server.files import PREFIX, explained
from relay_server.listening import listen
from relay_server.metrics import Metrics, measure_lag
from relay_server.operations.channels import delete_forgotten_canaries
from relay_server.operations.server import VERSION
from relay_server.sealing import Sealer
from relay_server.settings import ServerSettings, Sources
from relay_server.stopping import Ending, on_signals, stop
from relay_server.store.bodies import BodyKeys
from relay_server.store.feed import ChannelChanged, TokenMade
from relay_server.store.opening import open_store, store_exists
from relay_server.web.bridge import announced
from relay_server.web.context import Context

if TYPE_CHECKING:
    from relay_server.tracing import Tracing

log = structlog.get_logger()

RESERVED = 256  # open files that are not for connections: the database, the ops port, forwards …
UPKEEP_S = 60.0  # between two clean-ups of old events and forgotten canaries
UPKEEP_FULL_S = 5.0  # the same where a channel is nearly full, or webhooks find no room
UPKEEP_LOOK_S = 1.0  # how often it is looked whether one is
# The thread that writes leaves the interpreter for each statement, and waits this long to come
# back while the event loop is busy. Python's 5 ms would be most of an answer's time.
SWITCH_INTERVAL_S = 0.0001
# mallopt(3): from so many bytes on, each block is the system's own, and goes back once it is free.
M_MMAP_THRESHOLD, LARGE_BYTES = -3, 262_144
# So much that is free at the heap's end is kept, which is used again at once.
M_TRIM_THRESHOLD, SPARE_BYTES = -1, 4_194_304


@asynccontextmanager
async def open_context(
    settings: ServerSettings,
    sources: Sources,
    on_broken: Callable[[StoreBroken], None] = lambda _: None,
    tracing: Tracing | None = None,
) -> AsyncIterator[Context]:
    """Open the store and build every part around it.

    Raises:
        RelayError: The store cannot be opened.
    """
    prepare_data_dir(settings.data_dir)
    clock, metrics = SystemClock(), Metrics()
    url, limit = settings.store_url, settings.max_store_bytes
    bodies = body_keys(settings)
    key = settings.secret_key.reveal() if settings.secret_key else None
    sealer = Sealer(settings.data_dir, key)
    database = settings.store_secret, settings.store_allow_async == "on"
    store = await open_store(
        url,
        settings.data_dir,
        on_broken,
        limit,
        bodies,
        *database,
        settings.spool_max_bytes,
        announced(settings.replica_url, sealer),
    )
    store.space.listen(lambda space: metrics.store_taking.set(space.taking))
    metrics.spooled.set_function(lambda: store.space.spooled)
    metrics.stuck.set_function(lambda: store.space.stuck)
    if tracing is not None:
        tracing.follow(store, clock)
    hub = Hub(store, clock, metrics, tracing)
    parts = settings, sources, store, hub, metrics, clock, sealer
    context = Context(*parts, clock.monotonic())
    try:
        yield context
    finally:
        await context.drifts.close()
        await hub.close()
        await context.uses.close()
        await store.close()


def body_keys(settings: ServerSettings) -> BodyKeys:
    """The keys that seal and open stored bodies."""
    keys = settings.body_keys.reveal() if settings.body_keys else ""
    return BodyKeys(keys, sealing=settings.seals_bodies)


def prepare_data_dir(data_dir: Path) -> None:
    """Make the data dir for its owner's eyes alone.

    Raises:
        InvalidValue: It cannot be made, or not be written to.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise InvalidValue(f"the data dir {data_dir} cannot be made: {exc.strerror}") from exc
    if not os.access(data_dir, os.W_OK | os.X_OK):
        read_only = os.statvfs(data_dir).f_flag & os.ST_RDONLY
        number = errno.EROFS if read_only else errno.EACCES
        denied = OSError(number, os.strerror(number), str(data_dir))
        reason = explained(denied, data_dir)
        raise InvalidValue(f"the data dir {data_dir} cannot be written to: {reason}")


def fitted(settings: ServerSettings) -> ServerSettings:
    """Raise the limit on open files, and the settings with no more connections than fit it."""
    room = max(1, _open_files() - RESERVED)
    if settings.max_connections <= room:
        return settings
    log.warning(
        "fewer connections than set: the limit on open files (ulimit -n) is too low",
        max_connections=room,
    )
    return dataclasses.replace(settings, max_connections=room)


def _open_files() -> int:
    """The limit on open files, once it is as high as this process may have it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError):
        return soft  # some systems name a limit that they do not give
    return hard if hard != resource.RLIM_INFINITY else 1 << 30


def give_large_memory_back() -> None:
    """Have the C library give back what large bodies lay in, once they are gone.

    With the first one that is freed glibc would take the next ones from its heap, which shrinks
    only as far as nothing lies above them: it would keep the most that was ever open at once.
    """
    with suppress(AttributeError):  # another C library
        set_option = ctypes.CDLL(None).mallopt
        set_option(M_MMAP_THRESHOLD, LARGE_BYTES)
        set_option(M_TRIM_THRESHOLD, SPARE_BYTES)


async def serve(settings: ServerSettings, sources: Sources) -> int:
    """Run the server until a signal ends it.

    Returns:
        The exit status: 1 when the store or another part of the server failed.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    give_large_memory_back()
    settings, ending = fitted(settings), Ending()
    try:
        await _serve_until(ending, settings, sources)
    except StoreBroken:
        if not ending.store_broken:  # it could not even be opened
            raise
    log.info("stopped")
    return ending.status()


async def _serve_until(ending: Ending, settings: ServerSettings, sources: Sources) -> None:
    on_signals(ending.asked)  # from the first moment: what asks it to end while it starts is heard
    none_was_here = not store_exists(settings.store_url, settings.data_dir, settings.store_secret)
    async with AsyncExitStack() as stack:
        tracing = load_tracing(settings)
        if tracing is not None:  # last of all: the deliveries under way at a stop are traced, too
            stack.push_async_callback(asyncio.to_thread, tracing.close)
        opening = open_context(settings, sources, ending.store_failed, tracing)
        context = await stack.enter_async_context(opening)
        if none_was_here:
            log.warning("a new store is begun: none was here", data_dir=str(settings.data_dir))
        await _ensure_default_channel(context)
        _await_init(context)
        await _start_search(stack, context, ending)
        ending.watch(stack, "drifts", context.drifts.run())
        away = _prepare_hand_offs(stack, context)
        messages = Messages(context.store, context.hub, context.clock)
        stack.push_async_callback(messages.close)
        ending.watch(stack, "messages", messages.run())
        _prepare_forwards(stack, context)
        await _begin_reading(stack, context, ending)
        # What was made so far stays: else the collector looks through all of it every few thousand
        # webhooks, and nobody is answered for so long.
        gc.collect()
        gc.freeze()
        stack.callback(gc.unfreeze)
        servers, front, runners = await listen(stack, context, ending)
        ending.watch(stack, "hub", context.hub.run())
        _start_canary(stack, context, servers[0], ending)
        ending.watch(stack, "hand-offs", away.run())
        ending.watch(stack, "upkeep", _upkeep(context))
        ending.watch(stack, "lag", measure_lag(context.clock, context.metrics, context.throttle))
        if context.store.replica:
            ending.watch(stack, "reach", context.reach.run())
        context.listening = True
        _say_ready(context)
        await ending.asked.wait()
        log.info("stopping")
        await stop(context, servers, front, runners, drained=not ending.failed)


def load_tracing(settings: ServerSettings) -> Tracing | None:
    """What makes traces, where they are wanted; else nothing of it is imported."""
    if not settings.otlp_url:
        return None
    try:
        from relay_server.tracing import Tracing
    except ModuleNotFoundError as exc:
        raise InvalidValue(
            "RELAY_SERVER_OTLP_URL takes OpenTelemetry, which is not installed:"
            " pip install 'relay-tunnel[otel]'"
        ) from exc
    return Tracing(settings.otlp_url, settings.trace_ratio, VERSION)


async def _ensure_default_channel(context: Context) -> None:
    """`/webhook` leads somewhere from the first start on."""
    name = context.settings.default_channel
    if name not in context.store.catalog.channels:
        await context.store.create_channel(name, ChannelConfig(), context.clock.unix_ms())


def _await_init(context: Context) -> None:
    """A store without any token is ready once somebody has made one: `init` does."""

    def look(_change: TokenMade | ChannelChanged) -> None:
        if context.uninitialized and not lets_nobody_send(context.store.catalog):
            context.uninitialized = False
            _say_ready(context)

    context.uninitialized = lets_nobody_send(context.store.catalog)
    context.store.feed.listen(TokenMade, look)
    context.store.feed.listen(ChannelChanged, look)


def _say_ready(context: Context) -> None:
    settings, data_dir = context.settings, str(context.settings.data_dir)
    if context.uninitialized:
        log.error(
            "not ready: no token was ever made here, so every webhook is refused;"
            " run relay-server init, or look whether this is the data dir that was meant",
            data_dir=data_dir,
        )
    elif context.listening:
        log.info("ready", url=settings.url, data_dir=data_dir)


async def _start_search(stack: AsyncExitStack, context: Context, ending: Ending) -> None:
    settings = context.settings
    if settings.seals_bodies:  # an index of their words would show them
        from relay_server.search import index

        log.info("search is off: bodies are sealed", setting=f"{PREFIX}BODY_KEYS")
        index.delete(settings.data_dir / index.FILE_NAME)
        return
    if settings.search == "off":
        return
    from relay_server.search.follower import Search  # only who has it pays for it

    pulse = context.pulse
    search = Search(settings.data_dir, context.store, context.clock, lambda: pulse.total)
    stack.push_async_callback(search.close)
    await search.begin()
    search.listen(context.versions.changed)
    context.search = search
    ending.watch(stack, "search", search.run())


def _start_canary(
    stack: AsyncExitStack, context: Context, server: asyncio.Server, ending: Ending
) -> None:
    settings = context.settings
    bound = [one.getsockname() for one in server.sockets]
    at = context.own_port = own_port(bound, secure=settings.tls_cert_file is not None)
    if not settings.canary_s:
        return
    parts = context.store, context.hub, context.clock, context.metrics
    context.canary = Canary(*parts, settings.canary_s)
    rounds = context.canary.run(at, stopping=lambda: context.stopping)
    ending.watch(stack, "canary", rounds)


def _prepare_hand_offs(stack: AsyncExitStack, context: Context) -> HandOffs:
    context.away = HandOffs(context.store, context.hub, context.clock, context.sealer.open)
    stack.push_async_callback(context.away.close)
    return context.away


def _prepare_forwards(stack: AsyncExitStack, context: Context) -> None:
    allowed = Allowlist.of(context.settings.forward_allow)
    context.forwards = Forwards(context.hub, allowed, context.sealer.open)
    stack.push_async_callback(context.forwards.close, 0.0)  # `stop` has waited for what it had
    context.forwards.follow(context.store.feed)


async def _begin_reading(stack: AsyncExitStack, context: Context, ending: Ending) -> None:
    """Start forwards; while the database is away webhooks are taken, and this is tried again."""
    try:
        await _read_on(context)
    except StoreUnavailable:
        if not context.store.space.away:
            raise
        context.hub.begun = False
        ending.watch(stack, "beginning", _begin_late(context))


async def _begin_late(context: Context) -> None:
    backoff = StoreBackoff(context.clock, "nothing is delivered before the database is back")
    while not await backoff.run(functools.partial(_read_on, context)):  # noqa: ASYNC110
        await asyncio.sleep(STORE_RETRY_S)
    context.hub.begun = True


async def _read_on(context: Context) -> None:
    """What readers ask first (whose a conversation is), then forwards, which are readers."""
    assert context.away is not None
    assert context.forwards is not None
    await context.away.begin()
    for subscription in await context.store.subscriptions():
        if subscription.config.forward is not None:
            context.forwards.start(subscription)


async def _upkeep(context: Context) -> None:
    upkeep, waited_s = Upkeep(context.store, context.clock, context.metrics), 0.0
    while True:
        await asyncio.sleep(until_next(UPKEEP_LOOK_S, context.clock.monotonic()))
        waited_s += UPKEEP_LOOK_S
        urgent = upkeep.needed() or not context.store.space.taking
        if waited_s < (UPKEEP_FULL_S if urgent else UPKEEP_S):
            continue
        if context.store.space.away:  # or its disk is full: to delete would take room, and end it
            continue
        waited_s = 0.0
        try:
            await delete_forgotten_canaries(context)
            await context.uses.write_if_due()
            await upkeep.run_once(disk_is_full=not context.store.space.taking)
        except RelayError as exc:
            log.warning("upkeep put off", error=str(exc))
