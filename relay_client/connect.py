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
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

from relay_client import __version__, reasons
from relay_client.api import Api, choose_channel
from relay_client.backoff import Backoff
from relay_client.console import Console, counted
from relay_client.errors import ClientError, RelayUnreachable, TokenRefused, UsageError
from relay_client.journal import Journal
from relay_client.notices import Connected, Ended, Lost, Notice, Stopping, Warned
from relay_client.relay import Relay
from relay_client.render import Render, make_render
from relay_client.settings import ClientSettings, Configuration, Route, parse_since
from relay_client.tunnel import Tell, Tunnel
from relay_http.poster import Poster
from relay_http.target import Target
from relay_protocol.client_session import ClientSession
from relay_protocol.limits import MAX_SUBSCRIPTIONS, WINDOW_DELIVERIES
from relay_protocol.messages import Hello, Wanted, Welcome
from relay_protocol.text import harmless
from relay_terminal.streams import READER_GONE, Lines
from relay_terminal.words import _, speak_english

SHARING_SINCE = (0, 1, 0)  # the first version whose server knows `share`; older ones take over
NAME_CHANNEL = "Say which one goes to the target: --to CHANNEL=HOST:PORT"


class Announcer:
    """Writes notices to the console, until nobody reads any more.

    Attributes:
        shares, filters: The client asked for that, which a relay that is too old does not know: a
            warning follows its first welcome.
    """

    def __init__(self, console: Console) -> None:
        self.shares = self.filters = False
        self.render: Render | None = None
        self.on_hang_up: Callable[[], None] = lambda: None
        self._console = console
        self._lines = Lines(console.out, self._tell_lost)
        self._told_trouble = self._told_version = False

    def tell(self, notices: Sequence[Notice]) -> None:
        """Write the lines of notices, and what they ask to be added, in one go."""
        lines: list[str] = []
        for notice in notices:
            if self.render is not None:
                lines += self.render(notice)
                if isinstance(notice, Connected):
                    warned = self._warned(notice.welcome)
                    lines += [line for warning in warned for line in self.render(warning)]
        if lines:
            self._write(lines)

    def _warned(self, welcome: Welcome) -> Iterator[Warned]:
        """That the relay is of another version, or what that costs of what was asked; once."""
        relay = f"the relay has version {harmless(welcome.version, 40)}, which knows no"
        if self.shares and not can_share(welcome.version):
            self.shares, self._told_version = False, True
            yield Warned(f"{relay} --share: this client took over from others of its name.")
        if self.filters and any(granted.filter is None for granted in welcome.subscriptions):
            self.filters, self._told_version = False, True
            yield Warned(f"{relay} --filter: this client gets every webhook.")
        if not self._told_version and (text := reasons.of_versions(welcome.version)):
            self._told_version = True
            yield Warned(text)

    def _write(self, lines: Sequence[str]) -> None:
        self._lines.write("\n".join(lines) + "\n")
        trouble = self._lines.trouble
        if trouble is None:
            return
        if trouble.errno in READER_GONE:
            self.render = None
            self.on_hang_up()
        elif not self._told_trouble:
            self._told_trouble = True
            self._console.note(
                f"Warning: the output cannot be written ({trouble.strerror});"
                " webhooks are delivered all the same."
            )

    def _tell_lost(self, lines: int) -> None:
        self.tell([Warned(f"{counted(lines, 'line')} of this output could not be written")])


class Interrupts:
    """Turns the first Ctrl-C or SIGTERM into a stop, and the next into an end at once."""

    def __init__(self) -> None:
        self.on_first: Callable[[], None] | None = None
        self.count = 0
        self._task = asyncio.current_task()

    def interrupt(self) -> None:
        """One of the signals came."""
        self.count += 1
        if self.count == 1 and self.on_first is not None:
            self.on_first()
        elif self._task is not None:
            self._task.cancel()

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Listen for the signals."""
        loop = asyncio.get_running_loop()
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        for number in _SIGNALS:
            try:
                loop.add_signal_handler(number, self.interrupt)
            except NotImplementedError:  # Windows
                signal.signal(number, lambda *_: loop.call_soon_threadsafe(self.interrupt))
        try:
            yield
        finally:
            for number, handler in before.items():
                with contextlib.suppress(NotImplementedError):
                    loop.remove_signal_handler(number)
                signal.signal(number, handler)


def can_share(version: str) -> bool:
    """Say whether a server of this version shares; one that names no number is a new one."""
    numbers = reasons.numbers(version)
    return numbers is None or numbers >= SHARING_SINCE


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
                "Stopped at once.", "What was under way comes again with the next connect."
            ) from None
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
        text = f"{relay.url} is without TLS: anyone on the way can read the token. Use https."
        announcer.tell([Warned(text)])
    announcer.shares, announcer.filters = settings.share, bool(settings.filter)
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
        raise UsageError("no target is set", "Say where your app listens: --to localhost:8000")
    _checked = relay.tls, relay.proxy  # a wrong --ca-file or HTTPS_PROXY is told at once
    since = parse_since(settings.since, round(time.time() * 1000))
    unnamed = settings.channel
    if unnamed is None and any(route.channel is None for route in routes):
        unnamed = await _token_channel(relay, tell)
    targets = _by_channel(routes, unnamed)
    how = (settings.name, since, settings.share, settings.filter)
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
                f"two targets are given for the channel {channel}",
                "A channel goes to one target of a client; run a second client --as NAME.",
            )
        targets[channel] = route.target
    if len(targets) > MAX_SUBSCRIPTIONS:
        raise UsageError(f"a client reads at most {MAX_SUBSCRIPTIONS} channels")
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


_SIGNALS = (signal.SIGINT, signal.SIGTERM)
