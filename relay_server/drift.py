"""Notices when the webhooks of a kind have other fields than before, as after a sender's upgrade.

    EventsStored ──one of a kind each `REST_S`──▶ due ──parse, learn──▶ drifts
                   or, in doubt, `SAMPLE_S`               └──▶ shapes.msgpack

Behind the store's feed, never before an answer, and of each kind one event in half a minute: so it
costs the same however many come. While a kind is learnt, and while its events differ from what is
known, it is one in five seconds. What is known of shapes, and the drifts, are in a file beside the
store: names of fields and types, no values. It is made anew where it is lost.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import structlog

from relay_protocol.text import harmless
from relay_server.bodies.shape import Difference, Known, shape_of
from relay_server.clock import Clock
from relay_server.files import write_whole
from relay_server.store.feed import ChannelGone, EventsStored
from relay_server.store.interface import Store
from relay_server.values import ChannelNumber, Event

log = structlog.get_logger()

FILE_NAME = "shapes.msgpack"
VERSION = 1  # of the file; another one is thrown away
REST_S = 30.0  # between two events of one kind that are looked at
SAMPLE_S = 5.0  # the same while the kind is learnt, or differs from what is known
SAVE_S = 60.0  # between two writes of the file
TOGETHER_MS = 3_600_000  # what changes of one kind within an hour is one drift
MAX_BODY_BYTES = 262_144  # a larger body is not looked at
SMALL_BODY_BYTES = 16_384  # up to which it is looked at in the event loop: a thread costs more
MAX_KINDS = 64  # of all channels together; more are not looked at
MAX_DRIFTS = 100  # the oldest goes then
MAX_NAMED = 50  # fields of a drift that came, went or turned; more are not named


class Drift(Difference, kw_only=True):
    """The webhooks of a kind have other fields than before.

    Attributes:
        number: Its own.
        at: When it was noticed, Unix milliseconds.
    """

    number: int
    channel: ChannelNumber
    kind: str
    at: int

    def add(self, more: Difference) -> None:
        """What else changed of it."""
        self.came += [f for f in more.came if f not in self.came][: MAX_NAMED - len(self.came)]
        self.went += [f for f in more.went if f not in self.went][: MAX_NAMED - len(self.went)]
        self.turned += more.turned[: MAX_NAMED - len(self.turned)]


class _State(msgspec.Struct):
    version: int = VERSION
    last: int = 0  # number of a drift
    known: dict[ChannelNumber, dict[str, Known]] = msgspec.field(default_factory=dict)
    drifts: list[Drift] = msgspec.field(default_factory=list)


class Drifts:
    """What is known of shapes, kept by `run`."""

    def __init__(
        self,
        data_dir: Path,
        store: Store,
        clock: Clock,
        on_drift: Callable[[ChannelNumber], None] = lambda _: None,
    ) -> None:
        self._path = data_dir / FILE_NAME
        self._store = store
        self._clock = clock
        self._on_drift = on_drift
        self._next_at: dict[tuple[ChannelNumber, str], float] = {}
        self._due: dict[tuple[ChannelNumber, str], Event] = {}
        self._wake = asyncio.Event()
        self._save_at = clock.monotonic() + SAVE_S
        self._changed = False
        self._unlisten = (
            store.feed.listen(EventsStored, self._stored),
            store.feed.listen(ChannelGone, self._channel_gone),
        )

    @functools.cached_property
    def _state(self) -> _State:
        """Read when it is needed first: most commands that run alone never ask."""
        return _read(self._path)

    def all(self) -> list[Drift]:
        """Every drift, newest first."""
        return self._state.drifts[::-1]

    def dismiss(self, number: int) -> Drift | None:
        """Forget a drift; None where there is none."""
        for drift in self._state.drifts:
            if drift.number == number:
                self._state.drifts.remove(drift)
                self._changed = True
                self._on_drift(drift.channel)
                return drift
        return None

    async def run(self) -> None:
        """Look at what is due, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._due:
                (channel, kind), event = self._due.popitem()
                try:
                    await self._look(channel, kind, event)
                except Exception as exc:  # what a body may do to it must not end the server
                    log.error("an event's fields were not looked at", exc_info=exc)
            if self._changed and self._clock.monotonic() >= self._save_at:
                await self._save()

    async def close(self) -> None:
        """Listen no more, and keep what was learnt."""
        for unlisten in self._unlisten:
            unlisten()
        if self._changed:
            await self._save()

    def _stored(self, change: EventsStored) -> None:
        now = self._clock.monotonic()
        for event in change.events:
            of = change.channel, event.head.kind
            if self._next_at.get(of, now) <= now and len(event.body) <= MAX_BODY_BYTES:
                self._take(of, event, now)

    def _take(self, of: tuple[ChannelNumber, str], event: Event, now: float) -> None:
        """Have an event looked at, unless it is of one kind too many."""
        if of in self._next_at or len(self._next_at) < MAX_KINDS:
            self._next_at[of] = now + SAMPLE_S
            self._due[of] = event
            self._wake.set()

    def _channel_gone(self, change: ChannelGone) -> None:
        number = change.channel.number
        self._state.known.pop(number, None)
        self._state.drifts = [d for d in self._state.drifts if d.channel != number]
        for of in [of for of in self._next_at if of[0] == number]:
            del self._next_at[of]
            self._due.pop(of, None)
        self._changed = True

    async def _look(self, channel: ChannelNumber, kind: str, event: Event) -> None:
        of = self._store.catalog.numbered(channel)
        if of is None or of.config.owner:
            return
        known, began = self._known(channel, kind), self._clock.monotonic()
        if len(event.body) <= SMALL_BODY_BYTES:
            difference = _learn(known, event)
        else:
            difference = await asyncio.to_thread(_learn, known, event)
        if known.settled and (channel, kind) in self._next_at:
            self._next_at[channel, kind] = began + REST_S
        self._changed = True
        if difference is not None and channel in self._state.known:
            self._note(channel, of.name, kind, difference)

    def _known(self, channel: ChannelNumber, kind: str) -> Known:
        """What is known of a kind; a new one gets the room of those not seen since the start."""
        all_ = self._state.known
        if kind not in all_.get(channel, {}) and sum(map(len, all_.values())) >= MAX_KINDS:
            for of in [(number, one) for number, kinds in all_.items() for one in kinds]:
                if of not in self._next_at:
                    del all_[of[0]][of[1]]
        return all_.setdefault(channel, {}).setdefault(kind, Known())

    def _note(self, channel: ChannelNumber, name: str, kind: str, found: Difference) -> None:
        now, drifts = self._clock.unix_ms(), self._state.drifts
        lately = [
            d for d in drifts if (d.channel, d.kind) == (channel, kind) and now - d.at < TOGETHER_MS
        ]
        if lately:
            drift = lately[-1]
        else:
            self._state.last += 1
            drift = Drift(
                number=self._state.last,
                channel=channel,
                kind=kind,
                at=now,
                before=found.before,
                after=found.after,
            )
            drifts.append(drift)
            del drifts[:-MAX_DRIFTS]
        drift.add(found)
        log.warning(
            "webhooks of a kind have other fields than before: their sender may be another version",
            channel=name,
            kind=harmless(kind),
            came=[harmless(field) for field in found.came[:MAX_NAMED]],
            went=[harmless(field) for field in found.went[:MAX_NAMED]],
            turned=[harmless(str(turned)) for turned in found.turned[:MAX_NAMED]],
            before=found.before,
            after=found.after,
        )
        self._on_drift(channel)

    async def _save(self) -> None:
        raw = msgspec.msgpack.encode(self._state)
        self._changed, self._save_at = False, self._clock.monotonic() + SAVE_S
        try:
            await asyncio.to_thread(write_whole, self._path, raw)
        except OSError as exc:
            log.warning("what is known of webhooks' fields was not written", error=str(exc))


def _learn(known: Known, event: Event) -> Difference | None:
    with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return known.learn(event.head.id, shape_of(msgspec.json.decode(event.body)))
    return None


def _read(path: Path) -> _State:
    """What is known; nothing where that is lost, damaged, or of another version."""
    try:
        state = msgspec.msgpack.decode(path.read_bytes(), type=_State)
    except FileNotFoundError:
        return _State()
    except (OSError, msgspec.MsgspecError) as exc:
        log.warning("what is known of webhooks' fields is made anew", reason=str(exc))
        return _State()
    return state if state.version == VERSION else _State()
