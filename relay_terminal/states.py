"""States as people read them, of deliveries, and which of them are told as they change."""

from __future__ import annotations

import shlex
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from relay_protocol.text import harmless
from relay_terminal.layout import duration, size, when
from relay_terminal.retold import retold
from relay_terminal.words import N_, _, plural

MAX_FOLLOWED = 1_000  # events that a filter meant, of which deliveries are shown as they go on
# How attempts end without an answer, and how deliveries are settled untried, as the API names them
# but for the blanks.
OUTCOMES = (
    *(N_("target down"), N_("target lost"), N_("not started"), N_("network"), N_("timeout")),
    *(N_("refused"), N_("expired"), N_("taken over"), N_("same message"), N_("hand off")),
)
STATES = {
    "pending": N_("waiting"),
    "under_way": N_("under way"),
    "waiting": N_("retrying"),
    "delivered": N_("delivered"),
    "dead": N_("dead"),
    "discarded": N_("discarded"),
    "skipped": N_("skipped"),
    "expired": N_("expired"),
}
UNDECIDED = ("pending", "under_way")  # states of a delivery that say nothing of its target


def command_about(reader: Mapping[str, Any], verb: str) -> str:
    """The server's command about one that reads: `relay-server forward resume chatwoot bot`."""
    kind = "forward" if reader["forward"] else "subscription"
    return shlex.join(["relay-server", kind, verb, reader["channel"], reader["name"]])


def pause_of(reason: str, by: str = "", at: int | None = None) -> str:
    """Why a subscription is paused; by whom, and since when in Unix milliseconds, if noted."""
    said = harmless(retold(reason))
    if at and by:
        return _("{reason}, by {name} since {time}").format(
            reason=said, name=harmless(by), time=when(at)
        )
    return _("{reason}, since {time}").format(reason=said, time=when(at)) if at else said


def state_of(delivery: str, attempt: int) -> str:
    """Say a delivery's state, as the API names it, after so many attempts."""
    if delivery == "waiting" and not attempt:
        return _("waiting")
    return _(STATES[delivery]) if delivery in STATES else delivery


def outcome_of(kind: str) -> str:
    """Say how an attempt ended that brought no answer."""
    return _(kind.replace("_", " "))


def answered(status: int, size_b: int | None, headers: Iterable[Sequence[str]]) -> str:
    """Say a target's answer: `503 (application/json, 41 bytes)`."""
    kinds = (value for name, value in headers if name == "content-type")
    about = [*islice(kinds, 1), *([size(size_b)] if size_b else [])]
    return f"{status} ({', '.join(about)})" if about else str(status)


def became(state: str, attempt: int, status: int | None, reason: str, due_at: int | None) -> str:
    """Say what became of a delivery: `retrying 500: the target answered 500, next attempt at …`."""
    said = state_of(state, attempt) + (f" {status}" if status is not None else "")
    if state == "delivered":
        return said
    said += f": {retold(reason)}" if reason else ""
    if due_at is not None:
        today, at = when(round(time.time() * 1_000))[: len("2026-11-29")], when(due_at)
        said += _(", next attempt at {time}").format(time=at.removeprefix(today).lstrip())
    return said


def rest_of_replay(retrying: int, next_attempt_at: int | None, left_s: float | None) -> list[str]:
    """What is tried again and when, and how long the rest takes."""
    said = []
    if retrying and next_attempt_at is not None:
        text = plural(
            "{number} retried, from {time} on", "{number} retried, from {time} on", retrying
        )
        said.append(text.format(time=when(next_attempt_at, zoned=True)))
    if left_s is not None:
        left = _("the rest in about {time}") if said else _("about {time} left")
        said.append(left.format(time=duration(left_s)))
    return said


class Followed:
    """Which messages of a feed are shown: events, and what becomes of these.

    Args:
        name: The subscription whose deliveries are meant; empty for all.
        everything: No filter: also what becomes of events that came before.
    """

    def __init__(self, name: str, *, everything: bool) -> None:
        self._name, self._everything = name, everything
        self._shown = deque[str](maxlen=MAX_FOLLOWED)

    def shows(self, kind: str, message: Mapping[str, object]) -> bool:
        """Whether a message is for people, or for whoever reads it for them."""
        if kind == "event":
            self._shown.append(str(message.get("id")))
            return True
        if kind != "delivery" or message.get("state") in UNDECIDED:
            return False
        if self._name and message.get("subscription") != self._name:
            return False
        return self._everything or message.get("event") in self._shown
