"""Writes notices to the console, and a large backlog as one line that changes."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Callable, Iterator, Sequence

from relay_client import reasons
from relay_client.catching_up import AT_LEAST, CatchingUp, waiting_of
from relay_client.notices import Connected, Ended, Lost, Notice, Settled, Waiting, Warned
from relay_client.render import Render
from relay_protocol.messages import Welcome
from relay_protocol.text import harmless
from relay_terminal.console import Console
from relay_terminal.layout import width
from relay_terminal.streams import READER_GONE, Lines
from relay_terminal.words import N_, _, plural

SHARING_SINCE = (0, 1, 0)  # the first version whose server knows `share`; older ones take over
_LOOK_S = 0.5  # between two looks at a backlog
# What a relay that knows it says of each subscription; of one that does not, what that costs.
UNKNOWN_COSTS = {
    "filter": N_(
        "the relay has version {version}, which knows no --filter: this client gets every webhook."
    ),
    "temporary": N_(
        "the relay has version {version}, which knows no --temporary: {names} stays"
        " when this client ends."
    ),
    "resign": N_(
        "the relay has version {version}, which knows no --resign: signatures come as"
        " they were made."
    ),
}


class Announcer:
    """Writes notices to the console, until nobody reads any more.

    Attributes:
        shares: The client asked for that, which a relay too old does not know: a warning follows
            its first welcome.
        asks: The same of what a relay grants: names among `UNKNOWN_COSTS`.
        counts_backlog: A large backlog is one line that changes, for a person at a terminal.
    """

    def __init__(self, console: Console) -> None:
        self.shares = self.counts_backlog = False
        self.asks = frozenset[str]()
        self.render: Render | None = None
        self.on_hang_up: Callable[[], None] = lambda: None
        self._console = console
        self._lines = Lines(console.out, self._tell_lost)
        self._told_trouble = self._told_version = self._told_twice = False
        self._catching_up: CatchingUp | None = None
        self._held_up = False  # the target or the connection is away
        self._status = ""  # the line that changes, as it stands on the screen
        self._look: asyncio.TimerHandle | None = None

    def tell(self, notices: Sequence[Notice]) -> None:
        """Write the lines of notices, and what they ask to be added, in one go."""
        lines: list[str] = []
        for notice in notices:
            if self.render is None:
                return  # nobody reads any more
            if isinstance(notice, Settled):
                if self._catching_up is None or not self._counted(notice, self._catching_up):
                    lines += self.render(notice)
            else:
                lines += self._told(notice, self.render)
        if lines:
            self._write(lines)

    def _told(self, notice: Notice, render: Render) -> list[str]:
        lines: list[str] = []
        if isinstance(notice, Ended):
            lines += self._caught_up()
        if isinstance(notice, Lost | Waiting):
            self._held_up = True
        lines += render(notice)
        if isinstance(notice, Connected):
            warned = [*self._warned(notice.welcome), *_made_anew(notice)]
            lines += [line for warning in warned for line in render(warning)]
            self._begin(notice)
        return lines

    def _warned(self, welcome: Welcome) -> Iterator[Warned]:
        """That the relay is of another version, or what that costs of what was asked; once."""
        version = harmless(welcome.version, 40)
        if self.shares and not can_share(welcome.version):
            self.shares, self._told_version = False, True
            yield Warned(
                _(
                    "the relay has version {version}, which knows no --share: this client took over"
                    " from others of its name."
                ).format(version=version)
            )
        names = ", ".join(harmless(granted.name) for granted in welcome.subscriptions)
        for asked, costs in UNKNOWN_COSTS.items():
            unknown = any(getattr(granted, asked) is None for granted in welcome.subscriptions)
            if asked in self.asks and unknown:
                self.asks -= {asked}
                self._told_version = True
                yield Warned(_(costs).format(version=version, names=names))
        told_twice = [one for one in welcome.subscriptions if one.told_twice]
        if told_twice and not self._told_twice:
            self._told_twice = True
            names = ", ".join(harmless(one.name) for one in told_twice)
            first = told_twice[0]
            events = _(" and ").join(map(harmless, first.told_twice))
            whose = map(harmless, (first.channel, first.name))
            command = shlex.join(["relay-server", "subscription", "set", *whose, "--once"])
            yield Warned(
                _(
                    "messages come to {names} more than once, such as {events}: a bot answers them"
                    " as often. On the relay this ends that: {command}"
                ).format(names=names, events=events, command=command)
            )
        if not self._told_version and (text := reasons.of_versions(welcome.version)):
            self._told_version = True
            yield Warned(text)

    # A large backlog

    def _begin(self, notice: Connected) -> None:
        self._held_up = False
        waiting = waiting_of(notice.welcome)
        if self.counts_backlog and self._catching_up is None and waiting > AT_LEAST:
            self._catching_up = CatchingUp(waiting, time.monotonic())
            self._look = asyncio.get_running_loop().call_later(_LOOK_S, self._look_again)

    def _counted(self, attempt: Settled, catching_up: CatchingUp) -> bool:
        """True where an attempt is a part of the line that changes."""
        self._held_up &= not attempt.outcome.delivered
        return catching_up.takes(attempt, time.monotonic())

    def _look_again(self) -> None:
        if (catching_up := self._catching_up) is None:
            return
        now = time.monotonic()
        if self._held_up:
            catching_up.held_up(now)
        if catching_up.over(now):
            self._write(self._caught_up())
            return
        self._write([], catching_up.line(now))
        self._look = asyncio.get_running_loop().call_later(_LOOK_S, self._look_again)

    def _caught_up(self) -> list[str]:
        """The end of it, in one line; nothing where there was none."""
        catching_up, self._catching_up = self._catching_up, None
        if self._look is not None:
            self._look.cancel()
        return [] if catching_up is None else [catching_up.summary()]

    def _write(self, lines: Sequence[str], status: str = "") -> None:
        """Write lines in place of the line that changes, and that below them again."""
        text = "\n".join([*lines, ""])
        if self._status or status:
            clear = "\r" + " " * width(self._status) + "\r" if self._status else ""
            self._status = status[: max(0, self._console.cells - 1)]
            text = clear + text + self._status
        self._lines.write(text)
        trouble = self._lines.trouble
        if trouble is None:
            return
        if trouble.errno in READER_GONE:
            self.render = None
            self.on_hang_up()
        elif not self._told_trouble:
            self._told_trouble = True
            self._console.note(
                _(
                    "Warning: the output cannot be written ({why}); webhooks are delivered "
                    "all the same."
                ).format(why=trouble.strerror)
            )

    def _tell_lost(self, lines: int) -> None:
        text = plural(
            "{number} line of this output could not be written",
            "{number} lines of this output could not be written",
            lines,
        )
        self.tell([Warned(text)])


def can_share(version: str) -> bool:
    """Say whether a server of this version shares; one that names no number is a new one."""
    numbers = reasons.numbers(version)
    return numbers is None or numbers >= SHARING_SINCE


def _made_anew(notice: Connected) -> Iterator[Warned]:
    """That a subscription of this client was deleted while it was away: it missed what came."""
    made = [one.name for one in notice.welcome.subscriptions if one.created]
    if made and notice.away_s is not None:
        names = ", ".join(sorted(set(map(harmless, made))))
        yield Warned(
            _(
                "{names} was deleted meanwhile and is made anew: what came in between is not"
                " delivered here."
            ).format(names=names)
        )
