"""Two attempts of an event's deliveries, one beside the other."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence

import msgspec

from relay_server.errors import InvalidValue
from relay_server.operations import Caller
from relay_server.operations.bodies import Comparison, compared
from relay_server.operations.events import AttemptLine, event_attempts


class AttemptsPage(msgspec.Struct):
    """Which attempts of an event are compared, by their names; left out, those that tell most.

    These are the first and the last of the delivery that was tried last more than once, else of
    all of them.
    """

    a: str = ""
    b: str = ""


class AttemptsCompared(msgspec.Struct, frozen=True, kw_only=True):
    """Two attempts of an event.

    Attributes:
        of: Every attempt of the event, by its name, oldest first.
        a, b: The names of the two.
        answer: How what was kept of their answers differs.
        later_ms: How much later the second began.
        slower_ms: How much longer it took; negative where it was quicker.
    """

    of: Mapping[str, AttemptLine]
    a: str
    b: str
    answer: Comparison
    later_ms: int
    slower_ms: int


async def compare_attempts(who: Caller, id_: str, page: AttemptsPage) -> AttemptsCompared:
    """How two attempts of an event differ.

    Raises:
        InvalidValue: It has no two, or none of such a name.
    """
    attempts = (await event_attempts(who, id_)).attempts
    of = {name_of(one): one for one in sorted(attempts, key=lambda one: one.started_at)}
    if len(of) < 2:
        raise InvalidValue("there are no two attempts of it yet that have ended")
    first, last = _telling(list(of.values()))
    a, b = page.a or name_of(first), page.b or name_of(last)
    for name in (a, b):
        if name not in of:
            raise InvalidValue(f"it has no attempt {name!r}: one is SUBSCRIPTION/REPLAY/NUMBER")
    answers = of[a].text.encode(), of[b].text.encode()
    return AttemptsCompared(
        of=of,
        a=a,
        b=b,
        answer=await asyncio.to_thread(compared, answers[0], answers[1]),
        later_ms=of[b].started_at - of[a].started_at,
        slower_ms=of[b].elapsed_ms - of[a].elapsed_ms,
    )


def name_of(attempt: AttemptLine) -> str:
    """By which one is told from the others of its event; of what is no replay, that is 0."""
    return f"{attempt.subscription}/{attempt.replay or 0}/{attempt.attempt}"


def _telling(attempts: Sequence[AttemptLine]) -> tuple[AttemptLine, AttemptLine]:
    deliveries = defaultdict[tuple[str, int | None], list[AttemptLine]](list)
    for one in attempts:
        deliveries[one.subscription, one.replay].append(one)
    tried_again = [tries for tries in deliveries.values() if len(tries) > 1]
    meant = max(tried_again, key=lambda tries: tries[-1].started_at, default=attempts)
    return meant[0], meant[-1]
