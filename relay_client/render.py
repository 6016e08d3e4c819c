"""Notices as lines: for people, for pipes, for programs.

`_told` is the one place that says how each simple notice is told to all three. What is told most,
a connection and an attempt, looks different to each of them.
"""

from __future__ import annotations

import functools
import json
import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, assert_never

from relay_client.console import Colour, Console, counted, duration, padded
from relay_client.notices import (
    Connected,
    Ended,
    Lost,
    Notice,
    Paused,
    Resumed,
    Settled,
    Slept,
    StillAway,
    Stopping,
    Waiting,
    Warned,
)
from relay_http.target import Target
from relay_protocol.messages import Granted, Welcome
from relay_protocol.text import harmless
from relay_protocol.times import rfc3339
from relay_protocol.values import GONE, Failure, FailureKind, Outcome, Response

_BLINK_S = 2.0  # people are not told of shorter absences
_KIND_CELLS = 28
_KEY_CELLS = 10
_LINE_CHARS = 1_000

Render: TypeAlias = Callable[[Notice], list[str]]
_Simple: TypeAlias = (
    Lost | StillAway | Waiting | Resumed | Paused | Slept | Warned | Stopping | Ended
)
_Targets: TypeAlias = Mapping[str, Target]


def make_render(output: str, console: Console, url: str, targets: _Targets) -> Render:
    """Choose how notices become lines.

    Args:
        output: `"pretty"`, `"plain"` or `"json"`.
        console: Says whether there are colours.
        url: Of the relay.
        targets: By channel.
    """
    match output:
        case "json":
            return functools.partial(_json_lines, url, targets)
        case "plain":
            return functools.partial(_plain_lines, url)
        case _:
            return PrettyLines(console, url, targets)


@dataclass(frozen=True, slots=True)
class _Told:
    """A notice in the words of each reader.

    Attributes:
        kind: Names it to programs and pipes.
        plain: What a pipe gets behind that.
        pretty: What a person gets; empty for what a person need not know.
        facts: What a program gets; None for what repeats another notice.
    """

    kind: str
    plain: str
    pretty: str = ""
    colour: Colour = Colour.CARE
    facts: Mapping[str, object] | None = field(default_factory=dict)


def _told(notice: _Simple, url: str) -> _Told:
    facts: Mapping[str, object]
    match notice:
        case Lost(reason, hint, before_first):
            pretty = _away(reason, url, hint) if before_first else ""
            facts = {"reason": reason, "hint": hint}
            return _Told("reconnecting", reason, pretty, facts=facts)
        case StillAway(reason, hint):
            return _Told("away", reason, _away(reason, url, hint), facts=None)
        case Waiting(channel, target):
            pretty = (
                f"{target.authority} is not listening: webhooks of {harmless(channel)} wait on the "
                "relay, nothing is lost. Start your app and they arrive."
            )
            facts = {"channel": channel, "target": target.url}
            return _Told("waiting", f"{channel} {target.url}", pretty, facts=facts)
        case Resumed(channel, target):
            facts = {"channel": channel, "target": target.url}
            pretty = f"{target.authority} is back."
            return _Told("resumed", f"{channel} {target.url}", pretty, Colour.GOOD, facts)
        case Paused(channel, name, reason):
            facts = {"channel": channel, "subscription": name, "reason": reason}
            text = _paused(harmless(channel), harmless(name), harmless(reason))
            return _Told("paused", f"{_column(channel)} {text}", text, facts=facts)
        case Slept():
            return _Told("slept", "")
        case Warned(text):
            return _Told("warning", text, f"Warning: {text}", facts={"text": text})
        case Stopping(number):
            text = f"Finishing {counted(number, 'webhook')}; Ctrl-C again stops at once."
            pretty, facts = text if number else "", {"under_way": number}
            return _Told("stopping", f"under_way={number}", pretty, Colour.DIM, facts)
        case Ended(reason, exit_status):
            # An error is told where the command ends.
            pretty = "" if exit_status else "Stopped. What comes now waits on the relay."
            facts = {"reason": reason, "exit_status": exit_status}
            return _Told("ended", reason, pretty, Colour.DIM, facts)
        case _:
            assert_never(notice)


def _plain_lines(url: str, notice: Notice) -> list[str]:
    """Columns that stay: time, what, channel, event id, attempt, status, ms, kind, key, text."""
    match notice:
        case Settled(delivery, outcome):
            event = delivery.event
            columns = [delivery.channel, event.id, str(delivery.attempt), _status(outcome)]
            columns += [str(outcome.elapsed_ms), event.kind or "-", event.key or "-"]
            what = "delivered" if outcome.delivered else "failed"
            text = "" if outcome.delivered else f" {_why_and_next(outcome)}"
            rest = " ".join([what, *map(_column, columns)]) + text
        case Connected(welcome, away_s):
            what = "ready" if away_s is None else "reconnected"
            rest = f"{what} {url} backlog={_backlog_of(welcome)}"
        case _:
            told = _told(notice, url)
            rest = f"{told.kind} {told.plain}".rstrip(" ")
    return [f"{_timestamp()} {harmless(rest, _LINE_CHARS)}"]


def _json_lines(url: str, targets: _Targets, notice: Notice) -> list[str]:
    """An object a line, in ASCII alone: no name in it can steer a terminal."""
    kind: str
    facts: Mapping[str, object] | None
    match notice:
        case Settled(_, Failure(FailureKind.TARGET_DOWN)):
            return []  # nothing was tried; `waiting` tells it
        case Settled():
            kind = "delivered" if notice.outcome.delivered else "failed"
            facts = _settled_facts(notice)
        case Connected(welcome, away_s):
            kind = "ready" if away_s is None else "reconnected"
            facts = _connected_facts(welcome, away_s, url, targets)
        case _:
            told = _told(notice, url)
            kind, facts = told.kind, told.facts
    if facts is None:
        return []
    return [json.dumps({"type": kind, "time": _timestamp(), **facts})]


class PrettyLines:
    """For a person at a terminal."""

    def __init__(self, console: Console, url: str, targets: _Targets) -> None:
        self._paint = console.paint
        self._url = url
        self._targets = targets
        self._told_lost = False

    def __call__(self, notice: Notice) -> list[str]:
        """Give the lines of a notice; none for what a person need not know."""
        match notice:
            case Settled():
                return self._settled(notice)
            case Connected(welcome, None):
                return self._header(welcome)
            case Connected(welcome, away_s):
                return self._back(welcome, away_s or 0.0)
            case _:
                told = _told(notice, self._url)
                self._told_lost |= isinstance(notice, Lost | StillAway) and bool(told.pretty)
                return [self._line(told.pretty, told.colour)] if told.pretty else []

    def _header(self, welcome: Welcome) -> list[str]:
        granted = welcome.subscriptions
        names = ", ".join(sorted({harmless(g.name) for g in granted}))
        lines = [self._paint(f"Connected to {self._url} as {names}", Colour.BOLD)]
        lines += [
            f"  {harmless(g.channel)} → {self._targets[g.channel].url}{_only(g)}" for g in granted
        ]
        return [*lines, *(_backlog(g) for g in granted if g.backlog)]

    def _back(self, welcome: Welcome, away_s: float) -> list[str]:
        if not self._told_lost and away_s < _BLINK_S:
            return []
        self._told_lost = False
        backlog = _backlog_of(welcome)
        came = f"; {counted(backlog, 'webhook')} came meanwhile" if backlog else ""
        return [self._line(f"Connected again after {duration(away_s)}{came}.", Colour.GOOD)]

    def _settled(self, notice: Settled) -> list[str]:
        outcome = notice.outcome
        if isinstance(outcome, Failure) and outcome.kind in _SAID_BY_WAITING:
            return []
        status = _status(outcome).replace("_", " ")
        colour = Colour.GOOD if outcome.delivered else Colour.BAD
        words = [_clock(), self._what(notice), self._paint(status, colour)]
        words.append(f"{outcome.elapsed_ms} ms")
        if not outcome.delivered:
            words.append(_why_and_next(outcome))
        return ["  ".join(words)]

    def _what(self, notice: Settled) -> str:
        delivery = notice.delivery
        event = delivery.event
        kind = harmless(event.kind or event.request.method, _KIND_CELLS)
        what = f"{padded(kind, _KIND_CELLS)} {padded(_key(event.key), _KEY_CELLS)}"
        if len(self._targets) > 1:
            what = f"{padded(harmless(delivery.channel), 12)} {what}"
        if delivery.attempt > 1:
            what += f" attempt {delivery.attempt}"
        return what

    def _line(self, text: str, colour: Colour) -> str:
        return f"{_clock()}  {self._paint(harmless(text, _LINE_CHARS), colour)}"


_SAID_BY_WAITING = (FailureKind.TARGET_DOWN, FailureKind.TARGET_LOST)


def _settled_facts(notice: Settled) -> dict[str, object]:
    delivery, outcome = notice.delivery, notice.outcome
    facts: dict[str, object] = {
        "event_id": delivery.event.id,
        "channel": delivery.channel,
        "attempt": delivery.attempt,
        "status": outcome.status if isinstance(outcome, Response) else None,
        "duration_ms": outcome.elapsed_ms,
        "kind": delivery.event.kind,
        "key": delivery.event.key,
        "replay": delivery.replay,
    }
    if not outcome.delivered:
        failure = outcome.kind.value if isinstance(outcome, Failure) else "status"
        facts |= {"failure": failure, "text": _why_and_next(outcome)}
    return facts


def _connected_facts(
    welcome: Welcome, away_s: float | None, url: str, targets: _Targets
) -> dict[str, object]:
    granted = welcome.subscriptions
    channels = [
        {
            "channel": one.channel,
            "subscription": one.name,
            "target": targets[one.channel].url,
            "backlog": one.backlog,
            "oldest_waiting_at": one.oldest_waiting_at,
            "created": one.created,
            "filter": one.filter or "",
        }
        for one in granted
    ]
    away = {} if away_s is None else {"away_ms": round(away_s * 1000)}
    return {"url": url, "name": granted[0].name if granted else "", "channels": channels, **away}


def _why_and_next(outcome: Outcome) -> str:
    match outcome:
        case Failure(FailureKind.REFUSED, text):
            return f"{harmless(text)}; not tried again, the relay lists it as dead"
        case Failure(FailureKind.TARGET_LOST, text):
            return f"{harmless(text)}; it comes again once the target is back"
        case Failure(_, text):
            return f"{harmless(text)}; the relay tries again"
        case Response(status) if outcome.retryable:
            return f"the target answered {status}; the relay tries again"
        case Response(status) if status == GONE:
            return f"the target answered {status}; the relay pauses the subscription"
        case Response(status):
            return f"the target answered {status}; tried a few times more at most"


def _paused(channel: str, name: str, reason: str) -> str:
    """The pause, and the command that ends it."""
    command = shlex.join(["relay-client", "resume", "--channel", channel, "--as", name])
    return (
        f"{_sentence(reason)} The relay pauses {name}: webhooks of {channel} wait "
        f"there. To go on: {command}"
    )


def _away(reason: str, url: str, hint: str) -> str:
    return f"{_sentence(reason)} Trying again until {url} answers. {hint}".strip()


def _backlog_of(welcome: Welcome) -> int:
    return sum(granted.backlog for granted in welcome.subscriptions)


def _only(granted: Granted) -> str:
    """What it gets, where that is not everything."""
    return f", only {harmless(granted.filter, _LINE_CHARS)}" if granted.filter else ""


def _backlog(granted: Granted) -> str:
    if granted.created:
        return (
            f"{counted(granted.backlog, 'webhook')} of {harmless(granted.channel)} to catch up on"
        )
    age = ""
    if granted.oldest_waiting_at is not None:
        age = f", the oldest {duration(time.time() - granted.oldest_waiting_at / 1000)} ago"
    return f"{counted(granted.backlog, 'webhook')} came while you were away{age}"


def _status(outcome: Outcome) -> str:
    return str(outcome.status) if isinstance(outcome, Response) else outcome.kind.value


def _key(key: str) -> str:
    """A conversation as people know it: by its number, without its account's."""
    account, _, number = key.rpartition("/")
    if number.isdigit() and (account.isdigit() or not account):
        key = f"#{number}"
    return harmless(key, _KEY_CELLS)


def _column(text: str) -> str:
    """One word, so that columns can be told apart."""
    return harmless(text).replace(" ", "_")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _clock() -> str:
    return time.strftime("%H:%M:%S")


def _timestamp() -> str:
    return rfc3339(time.time_ns() // 1_000_000)
