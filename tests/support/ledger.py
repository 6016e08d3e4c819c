"""One ledger judges every fault: what senders were answered against what readers got.

Senders note what they send and what they are answered, targets what came and what they answered.
Nobody asks the relay what it believes, but for what it says is pending or dead:

    said = ledger.say(key, number, body, fields)
    ledger.answered(said, 200, "evt_…")
    target.answer = ledger.reader("ana").listening(answer)
    print(ledger.judge(ledger.reader("ana"), dead=set()))
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from tests.support.target import Answering, Arrival

Fields = tuple[tuple[bytes, bytes], ...]

DELIVERY_ID = b"x-chatwoot-delivery"
NAMED = 5  # offenders of each kind that a verdict names


@dataclass(slots=True, eq=False)
class Said:
    """A webhook as its sender made it.

    Attributes:
        key: What order is kept by.
        number: Its place in the key, ascending.
        target: Path and query that the reader must see.
        fields: Header fields that the reader must see, in this order.
        delivery_id: The sender's name of it; a repeat has the same.
        began: Monotonic seconds when it was sent first.
        answered: Monotonic seconds of its 2xx; None without one.
        event_id: What that 2xx said.
        refused: The last other status; None without one.
    """

    key: str
    number: int
    body: bytes
    target: str
    fields: Fields
    delivery_id: str
    began: float = field(default_factory=time.monotonic)
    answered: float | None = None
    event_id: str | None = None
    refused: int | None = None

    def __str__(self) -> str:
        return f"{self.key}/{self.number} ({self.event_id or 'never answered 2xx'})"

    def is_in(self, arrival: Arrival, path: str | None = None) -> bool:
        """Whether an arrival is this webhook, to the byte, at its own path or another."""
        own, mark, query = self.target.partition("?")
        got = iter(arrival.headers)
        return (
            arrival.body == self.body
            and arrival.request_target == (path or own) + mark + query
            and all(wanted in got for wanted in self.fields)
        )


@dataclass(slots=True)
class Reader:
    """What came to one reader's target, numbered in the order in which it happened.

    Attributes:
        came: (moment, arrival) of each request.
        took: The same of each that it answered 2xx, with the moment of the answer.
        path: Where everything must come, for a forward; None for the webhook's own path.
    """

    came: list[tuple[int, Arrival]] = field(default_factory=list)
    took: list[tuple[int, Arrival]] = field(default_factory=list)
    path: str | None = None
    _moments: itertools.count[int] = field(default_factory=itertools.count)

    @property
    def taken(self) -> set[str]:
        """Event ids of what it answered 2xx."""
        return {arrival.event_id for _, arrival in self.took}

    def listening(self, answer: Answering) -> Answering:
        """The same answers, noted."""

        async def noted(arrival: Arrival) -> bytes:
            self.came.append((next(self._moments), arrival))
            raw = await answer(arrival)
            if raw.startswith(b"HTTP/1.1 2"):
                self.took.append((next(self._moments), arrival))
            return raw

        return noted


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a ledger says of one reader.

    Attributes:
        sent: Webhooks, repeats not counted.
        accepted: Of these, those answered 2xx.
        taken: Events that the target answered 2xx.
        dead: Events that the relay says it gave up.
        pending: Accepted ones that the relay says are still to come.
        lost: Accepted, and neither taken nor dead nor pending.
        ghost: Came, and nobody sent it, or its sender was told that it is not wanted.
        mutated: Came with other bytes.
        out_of_order: Came before one of its key that was accepted before it was sent.
        stored_twice: Came as two events.
        duplicates: Events that the target took again, each time counted.
    """

    sent: int
    accepted: int
    taken: int
    dead: int
    pending: int
    lost: tuple[str, ...]
    ghost: tuple[str, ...]
    mutated: tuple[str, ...]
    out_of_order: tuple[str, ...]
    stored_twice: tuple[str, ...]
    duplicates: int

    @property
    def counts(self) -> dict[str, int]:
        """All of it in numbers."""
        return {
            name: value if isinstance(value, int) else len(value)
            for name in self.__slots__
            if not isinstance(value := getattr(self, name), str)
        }

    @property
    def kept(self) -> bool:
        broken = (self.lost, self.ghost, self.mutated, self.out_of_order, self.stored_twice)
        return not any(broken)

    def __str__(self) -> str:
        lines = [", ".join(f"{name} {count}" for name, count in self.counts.items())]
        for name in ("lost", "ghost", "mutated", "out_of_order", "stored_twice"):
            offenders = getattr(self, name)
            if offenders:
                lines.append(f"{name}: {'; '.join(offenders[:NAMED])}")
        return "\n".join(lines)


class Ledger:
    """Everything that senders said, and a reader for each target."""

    def __init__(self) -> None:
        self.said: list[Said] = []
        self._readers: dict[str, Reader] = {}

    def reader(self, name: str) -> Reader:
        """The log of a reader, made when it is first asked for."""
        return self._readers.setdefault(name, Reader())

    @property
    def accepted(self) -> dict[str, Said]:
        """What was answered 2xx, by event id."""
        return {said.event_id: said for said in self.said if said.event_id is not None}

    def say(self, said: Said) -> Said:
        """Note a webhook, before its first byte goes out."""
        self.said.append(said)
        return said

    def answered(self, said: Said, status: int, event_id: str | None = None) -> None:
        if not 200 <= status < 300:
            said.refused = status
        elif said.event_id is None:
            said.answered, said.event_id = time.monotonic(), event_id
        else:
            assert event_id == said.event_id, f"{said} was answered {event_id} when it was repeated"

    def judge(
        self,
        reader: Reader,
        *,
        dead: Collection[str] = (),
        pending: Collection[str] = (),
        strict: bool = True,
    ) -> Verdict:
        """Compare what was said with what came to a reader.

        Args:
            reader: Whose log it is.
            dead: Event ids that the relay lists as dead.
            pending: Event ids that it says are still to be delivered.
            strict: A key waits for what fails in it: nothing of it may come before all that was
                accepted earlier is taken or dead. Otherwise only first arrivals have an order.
        """
        accepted, taken = self.accepted, reader.taken
        gone = set(accepted) - taken - set(dead) - set(pending)
        found = _Found(self.said, reader)
        return Verdict(
            sent=len(self.said),
            accepted=len(accepted),
            taken=len(taken),
            dead=len(set(dead)),
            pending=len(set(pending)),
            lost=tuple(str(accepted[id_]) for id_ in sorted(gone)),
            ghost=tuple(found.ghost),
            mutated=tuple(found.mutated),
            out_of_order=tuple(_disorder(self.said, reader, found, dead, strict)),
            stored_twice=tuple(found.stored_twice),
            duplicates=sum(Counter(a.event_id for _, a in reader.took).values()) - len(taken),
        )


class _Found:
    """Arrivals with the webhooks that they are.

    Attributes:
        names: Of each event id that came, its webhook.
    """

    def __init__(self, said: list[Said], reader: Reader) -> None:
        self.ghost: list[str] = []
        self.mutated: list[str] = []
        self.stored_twice: list[str] = []
        self.names: dict[str, Said] = {}
        self._by_delivery = {one.delivery_id.encode(): one for one in said}
        self._by_event = {one.event_id: one for one in said}
        self._path = reader.path
        for _, arrival in reader.came:
            self._find(arrival)
        for one, count in Counter(map(id, self.names.values())).items():
            if count > 1:
                [name, *_] = [str(said) for said in self.names.values() if id(said) == one]
                self.stored_twice.append(name)

    def _find(self, arrival: Arrival) -> None:
        said = self._by_event.get(arrival.event_id) or self._named(arrival)
        if said is None or _was_not_wanted(said):
            self.ghost.append(f"{arrival.event_id}: {arrival.body[:60]!r}")
            return
        if not said.is_in(arrival, self._path):
            self.mutated.append(f"{said} came as {_shown(arrival)}")
        self.names[arrival.event_id] = said

    def _named(self, arrival: Arrival) -> Said | None:
        ids = (value for name, value in arrival.headers if name.lower() == DELIVERY_ID)
        return self._by_delivery.get(next(ids, b""))


def _shown(arrival: Arrival) -> str:
    return f"{arrival.request_target} {arrival.headers} {arrival.body[:60]!r}"


def _was_not_wanted(said: Said) -> bool:
    """Whether its sender was told that it is refused for good, so it may not come."""
    return said.event_id is None and said.refused in range(400, 408)


def _disorder(
    said: list[Said], reader: Reader, found: _Found, dead: Collection[str], strict: bool
) -> list[str]:
    """What came before one of its key that had been accepted before it was sent."""
    came: dict[int, int] = {}
    done: dict[int, int] = {}
    for moment, arrival in reader.came:
        if arrival.event_id in found.names:
            came.setdefault(id(found.names[arrival.event_id]), moment)
    for moment, arrival in reader.took if strict else reader.came:
        if arrival.event_id in found.names:
            done.setdefault(id(found.names[arrival.event_id]), moment)
    offenders: list[str] = []
    for talk in _by_key(said).values():
        offenders += _disorder_in(talk, came, done, dead)
    return offenders


def _disorder_in(
    talk: list[Said], came: dict[int, int], done: dict[int, int], dead: Collection[str]
) -> list[str]:
    offenders = []
    settled = sorted((s for s in talk if s.answered is not None), key=lambda s: s.answered or 0.0)
    latest, who, at = -1, None, 0
    for later in sorted(talk, key=lambda s: s.began):
        while at < len(settled) and (settled[at].answered or 0.0) < later.began:
            first = settled[at]
            moment = -1 if first.event_id in dead else done.get(id(first), _NEVER)
            if moment > latest:
                latest, who = moment, first
            at += 1
        if id(later) in came and came[id(later)] < latest:
            offenders.append(f"{later} before {who}")
    return offenders


_NEVER = 1 << 62


def _by_key(said: list[Said]) -> dict[str, list[Said]]:
    keys: dict[str, list[Said]] = {}
    for one in said:
        keys.setdefault(one.key, []).append(one)
    return keys
