"""The main job: keeps channels connected to their targets until interrupted.

    settings ──plan──▶ ┬─ a Poster for each channel ──▶ targets
                       ├─ Journal       what was delivered, known to the next run
                       └─ Tunnel ◀──▶ relay
                            └──notices──▶ Announcer ──render──▶ console

This module puts the parts together and decides how they end; none of them knows another.

*Beginning.* What is wrong with flags and settings is told before anything is opened. A target that
names no channel gets the token's, which only the relay knows: until it answers, it is waited for
like later, and said once.

*Ending.* The first Ctrl-C or SIGTERM drains: nothing new is taken, what the targets have is
finished and its results are sent. The second cancels the whole at once; what was under way comes
again. A reader of the output that went away (`| head`) counts as the first; output that a full disk
does not take is lost, and stops nothing. Either way the journal is closed last, when no result can
come any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from relay_client import __version__
from relay_client.announcer import UNKNOWN_COSTS, Announcer
from relay_client.api import Api, choose_channel
from relay_client.backoff import Backoff
from relay_client.errors import ClientError, RelayUnreachable, TokenRefused, UsageError
from relay_client.interrupts import Interrupts
from relay_client.journal import Journal
from relay_client.notices import Ended, Lost, Stopping, Warned
from relay_client.relay import Relay
from relay_client.render import make_render
from relay_client.routes import Route, parse_since
from relay_client.settings import ClientSettings, Configuration
from relay_client.tunnel import Tell, Tunnel
from relay_http.poster import Poster
from relay_http.target import Target
from relay_protocol.client_session import ClientSession
from relay_protocol.limits import MAX_SUBSCRIPTIONS, WINDOW_DELIVERIES
from relay_protocol.messages import Hello, Wanted
from relay_protocol.text import harmless
from relay_terminal.console import Console
from relay_terminal.words import N_, _, speak_english

NAME_CHANNEL = N_("Say which one goes to the target: --to CHANNEL=HOST:PORT")


async def run_connect(configuration: Configuration, console: Console) -> None:
    """Replay every webhook of the channels to their targets, until interrupted.

    Raises:
        ClientError: The relay refused for good, or the settings are impossible.
    """
    interrupts, announcer = Interrupts(), Announcer(console)
    with interrupts.installed():
        try:
            await _connect(configuration, console, announcer, interrupts)
        except asyncio.CancelledError:
            if interrupts.count == 0:
                raise
            if interrupts.on_first is None:  # nothing was under way yet
                announcer.tell([Ended("stopped", 0)])
                return
            announcer.tell([Ended("interrupted", 1)])
            raise ClientError(
                _("Stopped at once."), _("What was under way comes again with the next connect.")
            ) from None
        except UsageError:
            raise  # nothing began, so nothing ends
        except ClientError as exc:
            announcer.tell([Ended(str(exc), exc.exit_status)])
            raise
        announcer.tell([Ended("stopped", 0)])


async def _connect(
    configuration: Configuration, console: Console, announcer: Announcer, interrupts: Interrupts
) -> None:
    settings, relay = configuration.settings, configuration.relay()
    output = settings.output or ("pretty" if console.is_terminal else "plain")
    if output != "pretty":
        speak_english()
    announcer.render = make_render(output, console, relay.url, {})
    targets, wanted = await plan(settings, relay, announcer.tell)
    announcer.render = make_render(output, console, relay.url, targets)
    if relay.sends_token_in_clear:
        text = _("{url} is without TLS: anyone on the way can read the token. Use https.").format(
            url=relay.url
        )
        announcer.tell([Warned(text)])
    announcer.shares = settings.share
    announcer.asks = frozenset(name for name in UNKNOWN_COSTS if getattr(settings, name))
    announcer.counts_backlog = output == "pretty" and console.is_terminal
    async with (
        _open_journal(configuration.state_folder, relay, announcer.tell) as journal,
        contextlib.AsyncExitStack() as stack,
    ):
        # As many idle connections are kept for each target as deliveries are posted at once.
        tls = settings.target_tls(targets.values())
        posters = {
            channel: Poster(target, settings.timeout_s, settings.concurrency, tls=tls)
            for channel, target in targets.items()
        }
        for poster in posters.values():
            stack.callback(poster.close)
        hello = Hello(
            __version__,
            socket.gethostname(),
            wanted,
            WINDOW_DELIVERIES,
            batches=True,
            verdicts=True,
        )
        session = ClientSession(hello, settings.concurrency, finished=journal)
        cut = _noting_cuts(configuration.state_folder, relay.url, announcer.tell)
        tunnel = Tunnel(relay, session, posters, announcer.tell, cut=cut)

        def stop() -> None:
            announcer.tell([Stopping(len(session.running))])
            tunnel.stop()

        announcer.on_hang_up = tunnel.stop
        interrupts.on_first = stop
        try:
            await tunnel.run()
        except TokenRefused as exc:  # a good one may lack the scope
            async with Api(relay) as api:
                raise await api.explained(exc) from exc


def _noting_cuts(folder: Path, url: str, tell: Tell) -> Callable[[float], None]:
    """Remember connections that are cut, and say once what does it."""
    told = False

    def cut(lasted_s: float) -> None:
        from relay_client import lifetimes  # few connections are

        nonlocal told
        steady_s = lifetimes.Lifetimes(folder, url, time.time).cut(lasted_s)
        if steady_s is not None and not told:
            told = True
            tell([Warned(". ".join(lifetimes.told(steady_s)))])

    return cut


async def plan(
    settings: ClientSettings, relay: Relay, tell: Tell
) -> tuple[dict[str, Target], tuple[Wanted, ...]]:
    """Find out which channel goes to which target, and what to ask the relay for.

    Raises:
        UsageError: There is no target, or it is not clear for which channel.
        TokenRefused: The relay was asked for the token's channels, and refused.
    """
    routes = [Route.parse(text) for text in settings.to]
    if not routes:
        raise UsageError(
            _("no target is set"), _("Say where your app listens: --to localhost:8000")
        )
    _checked = relay.tls, relay.proxy  # a wrong --ca-file or HTTPS_PROXY is told at once
    since = parse_since(settings.since, round(time.time() * 1000))
    unnamed = settings.channel
    if unnamed is None and any(route.channel is None for route in routes):
        unnamed = await _token_channel(relay, tell)
    targets = _by_channel(routes, unnamed)
    name = settings.name
    if settings.temporary and name is None:
        name = f"temporary-{secrets.token_hex(4)}"  # none that stays is called so
    how = (name, since, settings.share, settings.filter, settings.temporary, settings.resign)
    return targets, tuple(Wanted(channel, *how) for channel in targets)


async def _token_channel(relay: Relay, tell: Tell) -> str:
    """Ask the relay, for as long as it takes it to be there."""
    backoff, told = Backoff(), False
    while True:
        try:
            async with Api(relay) as api:
                mine = await api.own_channels()
        except RelayUnreachable as exc:
            if not told:
                tell([Lost(str(exc), exc.hint, before_first=True)])
                told = True
        else:
            chosen = choose_channel(mine, NAME_CHANNEL)
            if len(mine) > 1:
                text = _(
                    "only {channel} comes here, of {number} channels that the token may read."
                    " Others too: --to CHANNEL=HOST:PORT"
                )
                tell([Warned(text.format(channel=harmless(chosen), number=len(mine)))])
            return chosen
        await asyncio.sleep(backoff.delay(time.monotonic()))


def _by_channel(routes: list[Route], unnamed: str | None) -> dict[str, Target]:
    targets: dict[str, Target] = {}
    for route in routes:
        channel = route.channel or unnamed
        assert channel is not None
        if channel in targets:
            raise UsageError(
                _("two targets are given for the channel {channel}").format(channel=channel),
                _("A channel goes to one target of a client; run a second client --as NAME."),
            )
        targets[channel] = route.target
    if len(targets) > MAX_SUBSCRIPTIONS:
        raise UsageError(
            _("a client reads at most {number} channels").format(number=MAX_SUBSCRIPTIONS)
        )
    return targets


@contextlib.asynccontextmanager
async def _open_journal(folder: Path, relay: Relay, tell: Tell) -> AsyncIterator[Journal]:
    """Open the journal for as long as the block; what was added is written at its end."""
    loop = asyncio.get_running_loop()

    def warn(text: str) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed before a slow disk answered
            loop.call_soon_threadsafe(tell, [Warned(text)])

    journal = await asyncio.to_thread(Journal, folder, relay.url, warn)
    try:
        yield journal
    finally:
        await asyncio.to_thread(journal.close)
