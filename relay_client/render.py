"""Notices as lines: for people, for pipes, for programs.

`telling` says how each simple notice is told to all three. What is told most, a connection and an
attempt, looks different to each of them.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable
from json.encoder import encode_basestring_ascii as _quoted
from typing import TypeAlias

from relay_client.notices import Connected, Notice, Settled
from relay_client.pretty import PrettyLines, Targets
from relay_client.telling import LINE_CHARS, column, next_at, status_of, told, why_and_next
from relay_protocol.messages import Welcome
from relay_protocol.text import harmless
from relay_protocol.times import rfc3339
from relay_protocol.values import Delivery, Failure, FailureKind, Response
from relay_terminal.console import Console

Render: TypeAlias = Callable[[Notice], list[str]]


def make_render(output: str, console: Console, url: str, targets: Targets) -> Render:
    """Choose how notices become lines."""
    match output:
        case "json":
            return functools.partial(_json_lines, url, targets)
        case "plain":
            return functools.partial(_plain_lines, url)
        case _:
            return PrettyLines(console, url, targets)


def _plain_lines(url: str, notice: Notice) -> list[str]:
    """Columns that stay: time, what, channel, event id, attempt, status, ms, kind, key, text."""
    match notice:
        case Settled(delivery, outcome):
            event = delivery.event
            columns = [delivery.channel, event.id, str(delivery.attempt), status_of(outcome)]
            columns += [str(outcome.elapsed_ms), event.kind or "-", event.key or "-"]
            what = "delivered" if outcome.delivered else "failed"
            text = "" if outcome.delivered else f" {why_and_next(notice)}"
            rest = " ".join([what, *map(column, columns)]) + text
        case Connected(welcome, away_s):
            what = "ready" if away_s is None else "reconnected"
            rest = f"{what} {url} backlog={_backlog_of(welcome)}"
        case _:
            said = told(notice, url)
            rest = f"{said.kind} {said.plain}".rstrip(" ")
    return [f"{_timestamp()} {harmless(rest, LINE_CHARS)}"]


def _json_lines(url: str, targets: Targets, notice: Notice) -> list[str]:
    """An object a line, in ASCII alone: no name in it can steer a terminal."""
    match notice:
        case Settled(delivery, outcome):
            if isinstance(outcome, Response) and outcome.delivered:
                return [_delivered_line(delivery, outcome)]
            if isinstance(outcome, Failure) and outcome.kind is FailureKind.TARGET_DOWN:
                return []  # nothing was tried; `waiting` tells it
            return _line("failed", _failed_facts(notice))
        case Connected(welcome, away_s):
            kind = "ready" if away_s is None else "reconnected"
            return _line(kind, _connected_facts(welcome, away_s, url, targets))
        case _:
            said = told(notice, url)
            return [] if said.facts is None else _line(said.kind, dict(said.facts))


def _line(kind: str, facts: dict[str, object]) -> list[str]:
    return [json.dumps({"type": kind, "time": _timestamp(), **facts})]


# As `json.dumps` makes it of a dictionary, which takes much longer: one comes for each webhook.
_DELIVERED = (
    '{"type": "delivered", "time": "%s", "event_id": %s, "channel": %s, "attempt": %d,'
    ' "status": %d, "duration_ms": %d, "kind": %s, "key": %s, "replay": %s, "method": %s,'
    ' "request_target": %s}'
)


def _delivered_line(delivery: Delivery, response: Response) -> str:
    event = delivery.event
    request = event.request
    return _DELIVERED % (
        _timestamp(),
        _quoted(event.id),
        _quoted(delivery.channel),
        delivery.attempt,
        response.status,
        response.elapsed_ms,
        _quoted(event.kind),
        _quoted(event.key),
        "true" if delivery.replay else "false",
        _quoted(request.method),
        _quoted(request.request_target),
    )


def _failed_facts(notice: Settled) -> dict[str, object]:
    """The same of an attempt that failed, and why it did."""
    delivery, outcome, verdict = notice.delivery, notice.outcome, notice.verdict
    event = delivery.event
    return {
        "event_id": event.id,
        "channel": delivery.channel,
        "attempt": delivery.attempt,
        "status": outcome.status if isinstance(outcome, Response) else None,
        "duration_ms": outcome.elapsed_ms,
        "kind": event.kind,
        "key": event.key,
        "replay": delivery.replay,
        "method": event.request.method,
        "request_target": event.request.request_target,
        "failure": outcome.kind.value if isinstance(outcome, Failure) else "status",
        "text": why_and_next(notice),
        "follows": None if verdict is None else verdict.follows.value,
        "next_attempt_at": next_at(verdict),
    }


def _connected_facts(
    welcome: Welcome, away_s: float | None, url: str, targets: Targets
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
            "came": one.came,
            "retrying": one.retrying,
        }
        for one in granted
    ]
    away = {} if away_s is None else {"away_ms": round(away_s * 1000)}
    return {"url": url, "name": granted[0].name if granted else "", "channels": channels, **away}


def _backlog_of(welcome: Welcome) -> int:
    return sum(granted.backlog for granted in welcome.subscriptions)


def _timestamp() -> str:
    return rfc3339(time.time_ns() // 1_000_000)
