"""Notices as lines for a person at a terminal."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import TypeAlias

from relay_client.live_line import live_line
from relay_client.notices import Connected, Lost, Notice, Settled, Slept, StillAway
from relay_client.telling import LINE_CHARS, advice, clock, told, waiting_lines, why_and_next
from relay_http.target import Target
from relay_protocol.messages import Follows, Granted, Welcome
from relay_protocol.text import harmless
from relay_protocol.values import Failure, FailureKind
from relay_terminal.console import Console
from relay_terminal.layout import Colour, duration, width, wrapped
from relay_terminal.words import _, plural

_BELOW_THE_TIME = " " * len("09:04:03  ")
_MAX_ADVISED = 20  # pieces of advice while one client runs
_BLINK_S = 2.0  # people are not told of shorter absences
_SAID_BY_WAITING = (FailureKind.TARGET_DOWN, FailureKind.TARGET_LOST)
Targets: TypeAlias = Mapping[str, Target]


class PrettyLines:
    """Gives the lines of each notice; none for what a person need not know."""

    def __init__(self, console: Console, url: str, targets: Targets) -> None:
        self._console = console
        self._paint = console.paint
        self._url = url
        self._targets = targets
        self._told_lost = False
        self._slept_s = 0.0
        self._advised = set[str]()  # what was said once

    def __call__(self, notice: Notice) -> list[str]:
        match notice:
            case Settled():
                return self._settled(notice)
            case Connected(welcome, None):
                return self._header(welcome)
            case Connected(welcome, away_s):
                return self._back(welcome, away_s or 0.0)
            case Slept(seconds):
                self._slept_s += seconds  # told with what came meanwhile
                return []
            case _:
                said = told(notice, self._url)
                self._told_lost |= isinstance(notice, Lost | StillAway) and bool(said.pretty)
                return self._lines(said.pretty, said.colour) if said.pretty else []

    def _header(self, welcome: Welcome) -> list[str]:
        granted = welcome.subscriptions
        names = ", ".join(sorted({harmless(g.name) for g in granted}))
        title = _("Connected to {url} as {names}").format(url=self._url, names=names)
        columns = self._columns()
        lines = [self._paint(line, Colour.BOLD) for line in wrapped(title, columns, 2)]
        for one in granted:
            goes = f"{harmless(one.channel)} → {self._targets[one.channel].url}"
            lines += wrapped(f"  {goes}{_only(one)}", columns, 2)
        for one in granted:
            of = f"{harmless(one.channel)}: " if len(granted) > 1 and not one.created else ""
            lines += [part for what in waiting_lines(one) for part in wrapped(of + what, columns)]
        return lines

    def _back(self, welcome: Welcome, away_s: float) -> list[str]:
        slept_s, self._slept_s = self._slept_s, 0.0
        if not self._told_lost and not slept_s and away_s < _BLINK_S:
            return []
        self._told_lost = False
        if slept_s:
            text = _("Connected again, {time} asleep").format(time=duration(slept_s))
        else:
            text = _("Connected again after {time}").format(time=duration(away_s))
        came = sum(one.came or 0 for one in welcome.subscriptions)
        meanwhile = plural("{number} webhook came", "{number} webhooks came", came)
        text += _("; {webhooks} meanwhile.").format(webhooks=meanwhile) if came else "."
        return self._lines(text, Colour.GOOD)

    def _settled(self, notice: Settled) -> list[str]:
        outcome, columns = notice.outcome, self._columns()
        if isinstance(outcome, Failure) and outcome.kind in _SAID_BY_WAITING:
            return []
        several = len(self._targets) > 1
        before, status, behind = live_line(notice.delivery, outcome, columns, with_channel=several)
        colour = Colour.GOOD if outcome.delivered else Colour.BAD
        line = before + self._paint(status, colour) + behind
        if outcome.delivered or _pauses(notice):
            return [line]
        why, more = why_and_next(notice, _), self._advice(notice, columns)
        if not columns or width(before + status + behind) + 2 + width(why) <= columns:
            return [f"{line}  {why}", *more]
        return [line, *wrapped(_BELOW_THE_TIME + why, columns), *more]

    def _advice(self, notice: Settled, columns: int) -> list[str]:
        text = advice(notice, self._targets[notice.delivery.channel])
        if not text or text in self._advised or len(self._advised) >= _MAX_ADVISED:
            return []
        self._advised.add(text)
        return wrapped(_BELOW_THE_TIME + text, columns) if columns else [_BELOW_THE_TIME + text]

    def _lines(self, text: str, colour: Colour) -> list[str]:
        time, room = clock(), self._columns() - len(_BELOW_THE_TIME)
        first, *more = wrapped(harmless(text, LINE_CHARS), max(0, room))
        below = [_BELOW_THE_TIME + self._paint(line, colour) for line in more]
        return [f"{time}  {self._paint(first, colour)}", *below]

    def _columns(self) -> int:
        """How wide the screen is now; 0 where lines may be of any length."""
        if not self._console.is_terminal:
            return self._console.cells
        return shutil.get_terminal_size((self._console.cells, 0)).columns


def _pauses(notice: Settled) -> bool:
    """Whether the relay pauses the subscription for it, and has told so before."""
    return notice.verdict is not None and notice.verdict.follows is Follows.PAUSED


def _only(granted: Granted) -> str:
    """What it gets, where that is not everything."""
    if not granted.filter:
        return ""
    return _(", only {filter}").format(filter=harmless(granted.filter, LINE_CHARS))
