"""A relay whose disk loses its power under load: recorded once, judged for many moments."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

from relay_client.journal import read_on
from relay_server.store.interface import Store
from relay_server.store.sqlite import integrity
from relay_server.store.sqlite.database import Database
from relay_server.store.sqlite.store import FILE_NAME as STORE_NAME
from relay_server.store.sqlite.store import open_sqlite
from relay_server.values import Event
from tests.support.events import new_event
from tests.support.ledger import Ledger, Reader, Said, Verdict
from tests.support.processes import ending
from tests.support.proxy import open_proxy
from tests.support.recording_disk import RecordingDisk
from tests.support.relay import Constant, Relay
from tests.support.target import Arrival, open_target
from tests.support.trial import (
    CONVERSATIONS,
    PAUSE_S,
    QUICK_RETURN,
    READER,
    Talk,
    Trial,
    open_trial,
)

MAX_EVENTS = 100_000
RELAY = "relay"  # the folder on the disk
CHANNEL = "chatwoot"


@dataclass(slots=True)
class Recorded:
    """A trial that ran on a recorded disk, and is over.

    Attributes:
        since: Monotonic seconds from which on cuts are worth while.
        until: When all power went.
        cleaned: Whether events that everybody has are deleted.
    """

    trial: Trial
    since: float
    until: float
    cleaned: bool

    def ledger_at(self, moment: float) -> Ledger:
        """What was said, answered and taken before a moment."""
        ledger = Ledger()
        ledger.said = [_at(one, moment) for one in self.trial.ledger.said if one.began < moment]
        whole = self.trial.ledger.reader(READER)
        came = [one for one in whole.came if one[1].at < moment]
        took = [one for one in whole.took if one[1].at < moment]
        later = itertools.count(max((number for number, _ in (*came, *took)), default=-1) + 1)
        ledger._readers[READER] = Reader(came, took, _moments=later)
        return ledger


async def record_load(
    disk: RecordingDisk,
    rng: random.Random,
    accepted: int,
    constants: tuple[Constant, ...] = (),
    *,
    cleaned: bool = False,
) -> Recorded:
    """Run a relay and a client of it on a disk until so many webhooks were accepted; kill all."""
    async with open_trial(disk.folder / RELAY, rng, constants=constants) as trial:
        if cleaned:
            await trial.relay.control("PATCH", "channels/chatwoot", {"retention_days": 1e-5})
        await trial.connect()
        since, until = await _talk_until_cut(disk, trial, accepted)
        return Recorded(trial, since, until, cleaned)


async def judge_disk(recorded: Recorded, moment: float, folder: Path) -> Verdict:
    """Open what a cut at a moment left, in this process, and compare it with what was promised."""
    ledger = recorded.ledger_at(moment)
    store = await open_sqlite(folder / "data")
    try:
        stored = await _events(store)
        await _check_sequences(store, stored, ledger, cleaned=recorded.cleaned)
        await _check_progress(store, stored, ledger)
    finally:
        await store.close()
    _check_files(folder)
    _check_journal(folder / "state", ledger.reader(READER).taken)
    return judge_stored(ledger, stored, cleaned=recorded.cleaned)


@asynccontextmanager
async def resumed(
    recorded: Recorded, moment: float, folder: Path, rng: random.Random
) -> AsyncIterator[Trial]:
    """Start a server and a client on what a cut at a moment left; the ledger goes on from there."""
    relay = Relay(folder)
    relay.constants = recorded.trial.relay.constants
    relay.client_constants = [QUICK_RETURN]
    relay.send_token = recorded.trial.relay.send_token
    with ending(relay.processes):
        async with open_target() as target, open_proxy(relay.port) as proxy:
            trial = Trial(relay, target, proxy, rng)
            trial.ledger = recorded.ledger_at(moment)
            trial.token = recorded.trial.token
            trial.answer_with(target.answer)
            await relay.start()
            await trial.connect()
            yield trial


async def judge_relay(
    recorded: Recorded, moment: float, folder: Path, rng: random.Random
) -> Verdict:
    """Start a server and a client on what a cut left, talk on, let all arrive, and judge it."""
    async with resumed(recorded, moment, folder, rng) as trial:
        async with trial.talking() as talk:
            await talk.accepts(5)
        verdict = await trial.verdict()
        _check_said(trial.relay)
        return verdict


async def record_return(
    disk: RecordingDisk, recorded: Recorded, moment: float, rng: random.Random, accepted: int
) -> Recorded:
    """What `record_load` does, on a disk as a cut left it: its start is in what is recorded."""
    async with resumed(recorded, moment, disk.folder / RELAY, rng) as trial:
        _, until = await _talk_until_cut(disk, trial, accepted)
        return Recorded(trial, disk.since, until, recorded.cleaned)


async def _talk_until_cut(disk: RecordingDisk, trial: Trial, accepted: int) -> tuple[float, float]:
    """Talk until so many more were accepted, and take all power.

    Returns:
        When the first was accepted, and when the power went; monotonic seconds.
    """
    talk = Talk(trial, CONVERSATIONS, PAUSE_S)
    try:
        await talk.accepts(1)
        since = monotonic()
        await talk.accepts(accepted, 120)
        until = monotonic()  # what was answered before is on the tape up to here
        disk.stop()
        for process in trial.relay.processes:
            process.kill()
    finally:
        await talk.cancel()
    return since, until


async def stored_events(folder: Path) -> list[Event]:
    """Everything in a relay's store, in order; nothing where there is no channel."""
    store = await open_sqlite(folder / "data")
    try:
        return await _events(store)
    finally:
        await store.close()


def _at(said: Said, moment: float) -> Said:
    """A webhook as its sender knew it then."""
    if said.answered is None or said.answered < moment:
        return replace(said)
    return replace(said, answered=None, event_id=None)


async def _events(store: Store) -> list[Event]:
    channel = store.catalog.channels.get(CHANNEL)
    if channel is None:
        return []
    listed = await store.list_events(channel.number, None, MAX_EVENTS)
    sequences = sorted(one.sequence for one in listed)
    return list(await store.fetch(channel.number, sequences))


async def _check_sequences(
    store: Store, stored: list[Event], ledger: Ledger, *, cleaned: bool
) -> None:
    """None is missing in between, none that somebody saw is gone, none is given a second time."""
    sequences = [event.head.sequence for event in stored]
    seen = {arrival.event_id for _, arrival in ledger.reader(READER).came}
    known = {*ledger.accepted, *seen}
    assert cleaned or sequences == list(range(1, len(sequences) + 1))
    assert cleaned or seen <= {event.head.id for event in stored}
    appended = await store.append(store.catalog.channels[CHANNEL].number, new_event())
    assert appended.sequence > max(len(known), *sequences, 0)


async def _check_progress(store: Store, stored: list[Event], ledger: Ledger) -> None:
    """Nothing is settled that its target has not taken."""
    taken, channel = ledger.reader(READER).taken, store.catalog.channels[CHANNEL]
    waiting = [event for event in stored if event.head.id not in taken]
    states = await store.deliveries(channel.number, [e.head.sequence for e in waiting])
    for event, [state] in zip(waiting, states, strict=True):
        assert state.state not in {"delivered", "dead", "discarded"}, event.head


def _check_files(folder: Path) -> None:
    with closing(Database(folder / "data" / STORE_NAME)) as database:
        assert integrity.problems(database, whole=True) == []


def _check_journal(folder: Path, taken: set[str]) -> None:
    """What a client would answer in its target's stead was taken by it."""
    if folder.exists():
        assert {record.event for record in read_on(folder, {})} <= taken


def _check_said(relay: Relay) -> None:
    """No program complained."""
    for process in relay.processes:
        for word in ("error", "damaged", "broken", "Traceback"):
            assert word not in process.errors, process.errors


def judge_stored(ledger: Ledger, stored: Sequence[Event], *, cleaned: bool = False) -> Verdict:
    """As if a reader got all that is there; after what its target took, if that may be deleted."""
    there = {event.head.id for event in stored}
    took = [arrival for _, arrival in ledger.reader(READER).took if cleaned]
    deleted = {arrival.event_id: arrival for arrival in took if arrival.event_id not in there}
    noted = list(enumerate([*deleted.values(), *map(_as_arrival, stored)]))
    return ledger.judge(Reader(noted, list(noted)))


def _as_arrival(event: Event) -> Arrival:
    head = event.head.request
    fields = (*head.headers, (b"Relay-Event-Id", event.head.id.encode()))
    return Arrival(head.method, head.request_target, fields, event.body)
