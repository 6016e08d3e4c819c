"""An event's time line: what each delivery waited for and tried, as bars on one scale. Pure.

All deliveries share the scale, so that what happened at once stands below one another. Attempts
take milliseconds and the waits between them minutes or hours. So each stretch between two moments
is as wide as the logarithm of its length: the longer is always the wider, and none vanishes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from relay_protocol.values import GONE, RETRYABLE_STATUSES
from relay_server.delivery.retry import GIVEN_BACK
from relay_server.operations.events import AttemptLine, DeliveryLine
from relay_server.operations.subscriptions import SubscriptionView
from relay_terminal.words import _

WIDTH = 1_000  # of a time line, in units of its drawing
LEAST = 6  # of a bar


class Stretch(NamedTuple):
    """What a delivery did for a while.

    Attributes:
        kind: `wait`, `good` and `bad` (attempts), `under-way`, or `ahead` (the wait for the next).
        start, end: Unix milliseconds.
    """

    kind: str
    start: int
    end: int


class Bar(NamedTuple):
    """A stretch, as it is drawn."""

    kind: str
    x: int
    width: int


class Try(NamedTuple):
    """An attempt, and how long it was waited for."""

    line: AttemptLine
    waited_ms: int


class Lane(NamedTuple):
    """A delivery on its time line.

    Attributes:
        reader: Who it is for; None where that subscription is gone.
        waits_ms: How long it waits by now, for whatever its subscription waits for; None where it
            does not wait.
    """

    delivery: DeliveryLine
    reader: SubscriptionView | None
    tries: list[Try]
    bars: list[Bar]
    waits_ms: int | None


class TimeLine(NamedTuple):
    """All deliveries of an event, and the moments between which they lie.

    Attributes:
        reply: When the bot's reply came, drawn; empty where none did.
    """

    start: int
    end: int
    lanes: list[Lane]
    reply: list[Bar]


def time_line(
    received_at: int,
    deliveries: Sequence[DeliveryLine],
    attempts: Sequence[AttemptLine],
    readers: Iterable[SubscriptionView],
    now: int,
    replied_at: int | None = None,
) -> TimeLine:
    """The deliveries of an event, drawn up to now, or to their next attempt."""
    known = {reader.name: reader for reader in readers}
    drawn = [(one, _tries_of(one, attempts, received_at, now)) for one in deliveries]
    stretches = [list(_stretches(one, tries, received_at, now)) for one, tries in drawn]
    reply = [Stretch("reply", replied_at, replied_at)] if replied_at is not None else []
    drawn_all = [*stretches, reply]
    scale = _scale({moment for lane in drawn_all for s in lane for moment in (s.start, s.end)})
    lanes = [
        Lane(one, known.get(one.subscription), tries, _bars(lane, scale), _waits(one, lane, now))
        for (one, tries), lane in zip(drawn, stretches, strict=True)
    ]
    ends = scale or {received_at: 0}
    return TimeLine(min(ends), max(ends), lanes, _bars(reply, scale))


def what_follows(attempt: AttemptLine) -> str:
    """What an attempt's end means for its delivery, in a few words."""
    status = attempt.status
    if status is None:
        if attempt.outcome in GIVEN_BACK:
            return _("it waits for the target, and uses up no attempt")
        return _("it is tried again")
    if 200 <= status < 300:
        return _("2xx settles it")
    if status == GONE:
        return _("410 pauses the subscription")
    if status >= 500 or status in RETRYABLE_STATUSES:
        return _("{status} is tried again").format(status=status)
    return _("{status} is tried three times in all").format(status=status)


def _tries_of(
    delivery: DeliveryLine, attempts: Sequence[AttemptLine], received_at: int, now: int
) -> list[Try]:
    own = (delivery.subscription, delivery.replay)
    found = [one for one in attempts if (one.subscription, one.replay) == own]
    tries, since = list[Try](), _begin(delivery, found, received_at, now)
    for one in found:
        tries.append(Try(one, max(0, one.started_at - since)))
        since = max(since, one.started_at + one.elapsed_ms)
    return tries


def _begin(
    delivery: DeliveryLine, attempts: Sequence[AttemptLine], received_at: int, now: int
) -> int:
    """Since when a delivery waits; of a replay only its first attempt is known."""
    if delivery.replay is None:
        return received_at
    return attempts[0].started_at if attempts else now


def _stretches(
    delivery: DeliveryLine, tries: Sequence[Try], received_at: int, now: int
) -> Iterator[Stretch]:
    since = _begin(delivery, [one.line for one in tries], received_at, now)
    for one, waited_ms in tries:
        start, end = since + waited_ms, since + waited_ms + one.elapsed_ms
        if waited_ms:
            yield Stretch("wait", since, start)
        is_good = one.status is not None and 200 <= one.status < 300
        yield Stretch("good" if is_good else "bad", start, end)
        since = end
    if delivery.state == "under_way":
        yield Stretch("under-way", since, max(now, since))
    elif delivery.state in ("pending", "waiting") and (tries or delivery.replay is None):
        yield Stretch("ahead", since, max(delivery.due_at or now, since))


def _waits(delivery: DeliveryLine, lane: Sequence[Stretch], now: int) -> int | None:
    if delivery.state not in ("pending", "waiting") or not lane:
        return None
    return max(0, now - lane[-1].start)


def _scale(moments: set[int]) -> Mapping[int, int]:
    """Where each moment is drawn."""
    ordered = sorted(moments)
    widths = [math.log2(2 + b - a) for a, b in itertools.pairwise(ordered)]
    whole, at, found = sum(widths) or 1.0, 0.0, dict[int, int]()
    for moment, width in zip(ordered, [0.0, *widths], strict=False):
        at += width
        found[moment] = round(WIDTH * at / whole)
    return found


def _bars(lane: Iterable[Stretch], scale: Mapping[int, int]) -> list[Bar]:
    bars = list[Bar]()
    for one in lane:
        width = max(LEAST, scale[one.end] - scale[one.start])
        bars.append(Bar(one.kind, min(scale[one.start], WIDTH - width), width))
    return bars
