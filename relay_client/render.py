"""Notices as lines: for people, for pipes, for programs."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
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
from relay_protocol.messages import Granted
from relay_protocol.text import harmless
from relay_protocol.times import rfc3339
from relay_protocol.values import GONE, Failure, FailureKind, Outcome, Response

_BLINK_S = 2.0  # people are not told of shorter absences
_KIND_CELLS = 28
_KEY_CELLS = 10
_LINE_CHARS = 1_000

Render: TypeAlias = Callable[[Notice], list[str]]


def make_render(output: str, console: Console, url: str, targets: Mapping[str, Target]) -> Render:
    """Choose how notices become lines.

    Args:
        output: `"pretty"`, `"plain"` or `"json"`.
        console: Says whether there are colours.
        url: Of the relay.
        targets: By channel.
    """
    match output:
        case "json":
            return JsonLines(url, targets)
        case "plain":
            return PlainLines(url)
        case _:
            return PrettyLines(console, url, targets)


class PrettyLines:
    """For a person at a terminal."""

    def __init__(self, console: Console, url: str, targets: Mapping[str, Target]) -> None:
        self._paint = console.paint
        self._url = url
        self._targets = targets
        self._told_lost = False

    def __call__(self, notice: Notice) -> list[str]:
        """Give the lines of a notice; none for what a person need not know."""
        match notice:
            case Settled():
                return self._settled(notice)
            case Connected(away_s=None):
                return self._header(notice)
            case Connected():
                return self._back(notice)
            case Waiting(channel, target):
                return self._waiting(channel, target)
            case Resumed(_, target):
                return [self._line(f"{target.authority} is back.", Colour.GOOD)]
            case Paused():
                return [self._line(_paused(notice), Colour.CARE)]
            case Warned(text):
                return [self._line(f"Warning: {text}", Colour.CARE)]
            case _:
                return self._connection(notice)

    def _connection(self, notice: Lost | StillAway | Slept | Stopping | Ended) -> list[str]:
        match notice:
            case Lost(before_first=False) | Slept():
                return []
            case Lost(reason, hint) | StillAway(reason, hint):
                self._told_lost = True
                text = f"{_sentence(reason)} Trying again until {self._url} answers. {hint}"
                return [self._line(text.strip(), Colour.CARE)]
            case Stopping(0):
                return []
            case Stopping(number):
                text = f"Finishing {counted(number, 'webhook')}; Ctrl-C again stops at once."
                return [self._line(text, Colour.DIM)]
            case Ended(exit_status=0):
                return [self._line("Stopped. What comes now waits on the relay.", Colour.DIM)]
            case Ended():
                return []  # the error itself is told where the command ends
            case _:
                assert_never(notice)

    def _header(self, notice: Connected) -> list[str]:
        granted = notice.welcome.subscriptions
        names = ", ".join(sorted({harmless(g.name) for g in granted}))
        lines = [self._paint(f"Connected to {self._url} as {names}", Colour.BOLD)]
        lines += [f"  {harmless(g.channel)} → {self._targets[g.channel].url}" for g in granted]
        return [*lines, *(_backlog(g) for g in granted if g.backlog)]

    def _back(self, notice: Connected) -> list[str]:
        away_s = notice.away_s or 0.0
        if not self._told_lost and away_s < _BLINK_S:
            return []
        self._told_lost = False
        backlog = sum(g.backlog for g in notice.welcome.subscriptions)
        came = f"; {counted(backlog, 'webhook')} came meanwhile" if backlog else ""
        return [self._line(f"Connected again after {duration(away_s)}{came}.", Colour.GOOD)]

    def _waiting(self, channel: str, target: Target) -> list[str]:
        text = (
            f"{target.authority} is not listening: webhooks of {harmless(channel)} wait on the "
            "relay, nothing is lost. Start your app and they arrive."
        )
        return [self._line(text, Colour.CARE)]

    def _settled(self, notice: Settled) -> list[str]:
        outcome = notice.outcome
        if isinstance(outcome, Failure) and outcome.kind in _SAID_BY_WAITING:
            return []
        words = [_clock(), self._what(notice)]
        match outcome:
            case Response(status) if outcome.delivered:
                words.append(self._paint(str(status), Colour.GOOD))
            case Response(status):
                words.append(self._paint(str(status), Colour.BAD))
            case Failure(kind):
                words.append(self._paint(_spoken(kind), Colour.BAD))
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


class PlainLines:
    """Columns that stay: time, what, channel, event id, attempt, status, ms, kind, key, text."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __call__(self, notice: Notice) -> list[str]:
        """Give the one line of a notice."""
        return [f"{_timestamp()} {harmless(self._rest(notice), _LINE_CHARS)}"]

    def _rest(self, notice: Notice) -> str:
        match notice:
            case Settled(delivery, outcome):
                event = delivery.event
                columns = [delivery.channel, event.id, str(delivery.attempt), _status(outcome)]
                columns += [str(outcome.elapsed_ms), event.kind or "-", event.key or "-"]
                text = "" if outcome.delivered else f" {_why_and_next(outcome)}"
                return " ".join([_type(notice), *map(_column, columns)]) + text
            case Connected(welcome, away_s):
                backlog = sum(g.backlog for g in welcome.subscriptions)
                what = "ready" if away_s is None else "reconnected"
                return f"{what} {self._url} backlog={backlog}"
            case Waiting(channel, target) | Resumed(channel, target):
                return f"{_type(notice)} {channel} {target.url}"
            case Paused(channel):
                return f"paused {_column(channel)} {_paused(notice)}"
            case Lost(reason) | StillAway(reason) | Ended(reason):
                return f"{_type(notice)} {reason}"
            case Warned(text):
                return f"warning {text}"
            case Stopping(number):
                return f"stopping under_way={number}"
            case Slept():
                return "slept"
            case _:
                assert_never(notice)


class JsonLines:
    """For programs: an object a line."""

    def __init__(self, url: str, targets: Mapping[str, Target]) -> None:
        self._url = url
        self._targets = targets

    def __call__(self, notice: Notice) -> list[str]:
        """Give the one object of a notice; none for what repeats another."""
        match notice:
            case StillAway():
                return []
            case Settled(_, Failure(FailureKind.TARGET_DOWN)):
                return []  # nothing was tried; `waiting` tells it
            case _:
                whole = {"type": _type(notice), "time": _timestamp(), **self._facts(notice)}
                return [json.dumps(whole)]  # ASCII alone: no name in it can steer a terminal

    def _facts(self, notice: Notice) -> dict[str, object]:
        match notice:
            case Settled():
                return _settled_facts(notice)
            case Connected(welcome, away_s):
                channels = [self._granted(g) for g in welcome.subscriptions]
                name = welcome.subscriptions[0].name if channels else ""
                away = {} if away_s is None else {"away_ms": round(away_s * 1000)}
                return {"url": self._url, "name": name, "channels": channels, **away}
            case Waiting(channel, target) | Resumed(channel, target):
                return {"channel": channel, "target": target.url}
            case Lost(reason, hint) | StillAway(reason, hint):
                return {"reason": reason, "hint": hint}
            case _:  # programs know the others' fields by the same names
                return asdict(notice)

    def _granted(self, granted: Granted) -> dict[str, object]:
        return {
            "channel": granted.channel,
            "subscription": granted.name,
            "target": self._targets[granted.channel].url,
            "backlog": granted.backlog,
            "oldest_waiting_at": granted.oldest_waiting_at,
            "created": granted.created,
        }


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


def _type(notice: Notice) -> str:
    match notice:
        case Settled(_, outcome):
            return "delivered" if outcome.delivered else "failed"
        case Connected(away_s=None):
            return "ready"
        case Connected():
            return "reconnected"
        case Lost():
            return "reconnecting"
        case Warned():
            return "warning"
        case StillAway():
            return "away"
        case _:
            return type(notice).__name__.lower()


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


def _paused(notice: Paused) -> str:
    """The pause, and the command that ends it."""
    channel, name = harmless(notice.channel), harmless(notice.subscription)
    command = shlex.join(["relay-client", "resume", "--channel", channel, "--as", name])
    return (
        f"{_sentence(harmless(notice.reason))} The relay pauses {name}: webhooks of {channel} wait "
        f"there. To go on: {command}"
    )


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


def _spoken(kind: FailureKind) -> str:
    return kind.value.replace("_", " ")


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
