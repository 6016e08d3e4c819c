"""Events that a filter means, a page at a time, by bounded work.

Up to where the search index is level with the store, it names the events that may be meant. Those
behind it, and all of them where there is no index, are looked at one by one; and so is whatever a
filter asks for that the index does not know. What became of deliveries the store is asked for. So
an answer is right however far the index is, and only takes more or fewer requests:

    newest ◀── looked at one by one ──▶ indexed_to ◀── named by the index ──▶ oldest

Which events are pinned, dead or failed the store names itself, where they are few: then these alone
are looked at.

No answer takes much longer than `BUDGET_S`. One that has looked for so long says how far it came,
and whoever asks goes on from there: a rare filter over many events is many cheap answers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from dataclasses import dataclass, field

from relay_server.filters.document import Document
from relay_server.filters.language import Filter
from relay_server.operations import MAX_LISTED, Parts
from relay_server.operations.outcomes import asks_for_pinned, holds, rare
from relay_server.reported import DeliveryState
from relay_server.store.rules import MAX_EDITED
from relay_server.values import ChannelNumber, Edited, Range

BUDGET_S = 0.025  # for looking, in one answer; with what is begun then it takes less than 50 ms
INDEX_S = 0.02  # of it for the index at once
MAX_LOOKED = 20_000  # events that one answer looks at one by one
PIECE = 64  # events that are looked at one by one at once
REST_S = 0.003  # before the next ones, as long as they take: half of a core is for webhooks
MAX_TROUBLED = 10_000  # deliveries that are looked at for those that failed; with more, all events
OUTCOMES_PIECE = 256  # events whose deliveries are asked for at once


@dataclass(frozen=True, slots=True)
class Asked:
    """Which events are meant.

    Attributes:
        channel: Whose; of edited events their stream.
        filter: All that is asked of them.
        after, before: Sequences between which they lie.
        newest_first: From which end they are looked for.
        limit: How many at most.
    """

    channel: ChannelNumber
    filter: Filter
    after: int
    before: int
    newest_first: bool
    limit: int

    def covers(self, sequence: int) -> bool:
        """Whether a sequence lies between its ends."""
        return self.after < sequence < self.before


@dataclass(slots=True)
class Found:
    """What was found.

    Attributes:
        sequences: Of the events that are meant, in the order of the look.
        deliveries: Of those, where the filter asked for them.
        scanned_to: The last sequence that was looked at.
        complete: The bound of work did not end the look.
    """

    scanned_to: int
    sequences: list[int] = field(default_factory=list)
    deliveries: dict[int, Sequence[DeliveryState]] = field(default_factory=dict)
    complete: bool = True


async def find(parts: Parts, asked: Asked) -> Found:
    """Find the next events that are meant."""
    if (named := await _named(parts, asked)) is not None:
        return await _among(parts, asked, named)
    began, looked = time.monotonic(), 0
    found = Found(asked.before if asked.newest_first else asked.after)
    tired, rest_s = False, 0.0
    while not (tired or _is_done(asked, found)):
        await asyncio.sleep(rest_s)
        sequences, found.scanned_to, rest = await _next(parts, asked, found)
        if rest.terms:
            looked += len(sequences)
            sequences = await _matching(parts, asked.channel, sequences, rest)
            rest_s = REST_S
        await _add(parts, asked, found, sequences)
        tired = time.monotonic() - began > BUDGET_S or looked > MAX_LOOKED
    found.complete = _is_done(asked, found)
    return found


async def find_edited(
    parts: Parts, asked: Asked, among: Callable[[Edited], bool] = lambda _: True
) -> Found:
    """Find edited events that are meant, of a channel that has few of them: all are looked at."""
    known = await parts.store.list_edited(-asked.channel, None, None, MAX_EDITED)
    return await _among(parts, asked, [e.event.sequence for e in known if among(e)])


async def _named(parts: Parts, asked: Asked) -> Collection[int] | None:
    """All events that may be meant, where that is asked which few are; None where they are many."""
    wanted = rare(asked.filter)
    if not wanted:
        return None
    found = set[int]()
    if "pinned" in wanted:
        found.update(await parts.store.pinned(asked.channel))
    if wanted != {"pinned"}:
        troubled = await parts.store.in_trouble(asked.channel, MAX_TROUBLED)
        if troubled is None:
            return None
        found.update(troubled)
    return found


async def _among(parts: Parts, asked: Asked, named: Collection[int]) -> Found:
    """Find those that are meant among a few, of which all others are known not to be."""
    until = time.monotonic() + BUDGET_S
    found = Found(asked.before if asked.newest_first else asked.after)
    left = sorted(filter(asked.covers, named), reverse=asked.newest_first)
    alone = all(term.needs_outcome for term in asked.filter.terms)
    piece = OUTCOMES_PIECE if alone else PIECE
    while left and len(found.sequences) < asked.limit:
        some, left = left[:piece], left[piece:]
        found.scanned_to = some[-1]
        await _add(parts, asked, found, await _matching(parts, asked.channel, some, asked.filter))
        if time.monotonic() > until:
            break
    if not left and len(found.sequences) < asked.limit:
        found.scanned_to = asked.after + 1 if asked.newest_first else asked.before - 1
    found.complete = _is_done(asked, found)
    return found


def _is_done(asked: Asked, found: Found) -> bool:
    """Whether as many were found as are wanted, or all were looked at."""
    if len(found.sequences) == asked.limit:
        return True
    if asked.newest_first:
        return found.scanned_to <= asked.after + 1
    return found.scanned_to >= asked.before - 1


async def _next(parts: Parts, asked: Asked, found: Found) -> tuple[Sequence[int], int, Filter]:
    """The next events that may be meant, how far that looked, and what is left to be asked."""
    first, last = asked.after + 1, asked.before - 1
    if asked.newest_first:
        last = min(last, found.scanned_to - 1)
    else:
        first = max(first, found.scanned_to + 1)
    search = parts.search
    level = search.indexed_to(asked.channel) if search is not None else 0
    if search is None or (last if asked.newest_first else first) > level:
        return await _scan(parts, asked, found, max(first, level + 1), last)
    wanted = asked.limit - len(found.sequences)
    if asked.filter.needs_outcome:
        wanted = max(wanted, OUTCOMES_PIECE)
    of = Range(asked.channel, first, min(last, level), asked.newest_first)
    looked = await search.find(asked.filter, of, wanted, time.monotonic() + INDEX_S)
    return looked or await _scan(parts, asked, found, first, last)


async def _scan(
    parts: Parts, asked: Asked, found: Found, first: int, last: int
) -> tuple[Sequence[int], int, Filter]:
    """The next events of the store, all of which may be meant."""
    rest = asked.filter
    limit = PIECE if rest.terms else min(asked.limit - len(found.sequences), MAX_LISTED)
    if asked.newest_first:
        summaries = await parts.store.list_events(asked.channel, last + 1, limit)
        sequences = [summary.sequence for summary in summaries]
        reached = sequences[-1] if len(sequences) == limit else first
    else:
        outlines = await parts.store.outlines(asked.channel, first - 1, limit)
        sequences = [outline.sequence for outline in outlines]
        reached = sequences[-1] if len(sequences) == limit else last
    inside = [sequence for sequence in sequences if first <= sequence <= last]
    return inside, min(max(reached, first), last), rest


async def _matching(
    parts: Parts, channel: ChannelNumber, sequences: Sequence[int], rest: Filter
) -> Sequence[int]:
    """Those events of which the rest of a filter holds, by all that is known of themselves."""
    if all(term.needs_outcome for term in rest.terms):
        return sequences
    looked = await parts.store.examine(
        channel, sequences, lambda event: (event.head.sequence, rest.matches(Document(event)))
    )
    return [sequence for sequence, matches in looked if matches]


async def _add(parts: Parts, asked: Asked, found: Found, sequences: Sequence[int]) -> None:
    """Add those of which the rest of it holds, by what became of them; as many as are wanted."""
    states: Mapping[int, Sequence[DeliveryState]] = {}
    if asked.filter.needs_outcome and sequences:
        of_each = await parts.store.deliveries(asked.channel, sequences)
        states = dict(zip(sequences, of_each, strict=True))
        pinned: Container[int] = ()
        if asks_for_pinned(asked.filter):
            pinned = await parts.store.pinned(asked.channel)
        sequences = [s for s in sequences if holds(asked.filter, states[s], pinned=s in pinned)]
    room = asked.limit - len(found.sequences)
    sequences = sequences[:room]
    if len(sequences) == room:  # what is behind the last one is for the next answer
        found.scanned_to = sequences[-1]
    found.sequences += sequences
    found.deliveries |= {s: states[s] for s in sequences if s in states}
