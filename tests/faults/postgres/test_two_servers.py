"""Two servers behind one balancer, on one database: killed, upgraded, and nobody notices."""

from __future__ import annotations

import asyncio
import functools
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random

import pytest

from tests.faults.conftest import Judged
from tests.faults.postgres.conftest import KEY, check_answers, place_of
from tests.faults.postgres.test_database_away import WINDOW, drained
from tests.support.chatwoot import message
from tests.support.postgres import Cluster
from tests.support.processes import ending
from tests.support.proxy import open_proxy
from tests.support.relay import Constant, Relay, running
from tests.support.seeds import is_deep, short_or_deep
from tests.support.target import open_target
from tests.support.trial import READER, STRICT, Trial
from tests.support.waiting import LONG_S, Stopwatch, until, until_true

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TIMES = short_or_deep(1, 20)
PACE_S = 0.05  # of twelve conversations: some 200 webhooks a second
MANY = short_or_deep(60, 200)
BACK_S = 5.0  # until a client of a server that died is served by another
FORWARDS = 20
FORWARDED_S = 17.0  # until another one runs its forwards
DUPLICATES = 0.01  # of a rolling upgrade, at the most
SLOWLY: list[Constant] = [
    ("relay_server.store.postgres.appending", "APPEND_S", LONG_S),
    ("relay_server.store.postgres.store", "TELL_S", LONG_S),
]
# A version to come, which has added to the tables what the one before does not know.
NEXT_VERSION = """
import sys
from relay_server.store.postgres import database
scripts = (*database.migrations(), "ALTER TABLE events ADD COLUMN colour text DEFAULT 'red'")
database.migrations = lambda: scripts
program = sys.argv[3]  # of a server with other constants
del sys.argv[1:4]
exec(program)
"""


class Pair:
    """A trial whose senders and clients come through a balancer of two servers."""

    def __init__(self, trial: Trial, relays: tuple[Relay, Relay]) -> None:
        self.trial, self.relays = trial, relays

    def other(self, relay: Relay) -> Relay:
        """The one that is asked from now on."""
        [self.trial.relay] = [one for one in self.relays if one is not relay]
        return self.trial.relay


Pairing = Callable[..., AbstractAsyncContextManager[Pair]]


@pytest.fixture
def pairing(tmp_path: Path, rng: Random) -> Pairing:
    """Opens two servers on a database; where that is never away, a slow one is waited for.

    One that spools alone has others overtake what it has: order is promised while none does.
    """

    @asynccontextmanager
    async def paired(
        *clusters: Cluster, away: bool = False, **settings: str
    ) -> AsyncIterator[Pair]:
        settings |= {"store_url": place_of(*clusters), "secret_key": KEY}
        first, second = (Relay(tmp_path / name, **settings) for name in "ab")
        for relay in (first, second):
            relay.folder.mkdir()
            relay.constants = [] if away else SLOWLY
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(running(first))
            stack.enter_context(ending(second.processes))
            await second.start()
            second.send_token = first.send_token
            target = await stack.enter_async_context(open_target())
            proxy = await stack.enter_async_context(open_proxy(first.port, second.port))
            trial = Trial(first, target, proxy, rng)
            trial.port = proxy.port
            trial.token = await first.make_token(READER, "subscribe")
            await trial.set_policy(**STRICT)
            await stack.enter_async_context(trial.measuring())
            yield Pair(trial, (first, second))

    return paired


def is_taken(trial: Trial, before: int) -> bool:
    """Whether the target got a webhook that was said after so many others."""
    taken = trial.ledger.reader(READER).taken
    return any(one.event_id in taken for one in trial.ledger.said[before:])


async def check(
    trial: Trial, judged: Judged, fault: str, times: int, duplicates: int, *, away: bool = False
) -> None:
    """Judge a trial, in which no webhook that a server had was refused, or waited for long."""
    verdict = await trial.verdict()
    if away:  # what came to both meanwhile is stored in the order in which they bring it
        await check_in_sequence(trial)
    judged(verdict, fault, times, duplicates=duplicates, in_order=not away)
    check_answers(trial)
    sequences = [event["sequence"] for event in await trial.relay.events()]
    assert sequences == list(range(len(sequences), 0, -1))


async def check_in_sequence(trial: Trial) -> None:
    """Each key came in the order of its sequences, whatever came again."""
    stored = {event["id"]: event for event in await trial.relay.events()}
    latest = dict[str, int]()
    for event in [stored[id_] for id_ in dict.fromkeys(trial.target.event_ids)]:
        assert event["sequence"] > latest.get(event["key"], 0)
        latest[event["key"]] = event["sequence"]


@pytest.mark.deep
async def test_one_is_killed(primary: Cluster, pairing: Pairing, judged: Judged) -> None:
    """Its clients are back at the other within seconds, whatever they were sent."""
    async with pairing(primary) as pair:
        trial = pair.trial
        # One dies each second or two here: to a client that is a relay which drops it at once.
        trial.relay.client_constants = [("relay_client.backoff", "STABLE_S", 0.2)]
        client = await trial.connect()
        async with trial.talking(pause_s=PACE_S) as talk:
            for number in range(TIMES):
                await talk.accepts(MANY)
                killed = pair.relays[number % 2]
                pair.other(killed)
                killed.server.kill()
                watch, before = Stopwatch(), len(trial.ledger.said)
                await until(functools.partial(is_taken, trial, before))
                assert watch.elapsed_s <= BACK_S
                await killed.start()
        assert client.alive, client.errors
        await check(trial, judged, "one of two servers killed", TIMES, WINDOW * TIMES)


async def test_both_are_upgraded_one_after_the_other(
    primary: Cluster, pairing: Pairing, judged: Judged
) -> None:
    """The next version changes tables under the one before, and that may come back."""
    async with pairing(primary) as pair:
        trial = pair.trial
        client = await trial.connect()
        async with trial.talking(pause_s=PACE_S) as talk:
            first, second = pair.relays
            new = [sys.executable, "-c", NEXT_VERSION]
            for relay, prefix in ((first, new), *[(second, new)] * is_deep(), (first, [])):
                await talk.accepts(MANY)
                pair.other(relay)
                relay.server.terminate()
                assert await relay.server.exit_status() == 0
                relay.server_prefix = [*prefix]
                await relay.start()
            await talk.accepts(MANY)
        assert client.alive, client.errors
        assert all(one.answered is not None for one in trial.ledger.said)
        most = round(DUPLICATES * len(trial.ledger.said))
        await check(trial, judged, "two servers upgraded, and one put back", 3, most)


@pytest.mark.deep
async def test_the_primary_is_killed_and_last_replaced(
    primary: Cluster, standby: Cluster, pairing: Pairing, judged: Judged, rng: Random
) -> None:
    async with pairing(primary, standby, away=True) as pair:
        trial = pair.trial
        client = await trial.connect()
        async with trial.talking(pause_s=PACE_S) as talk:
            for _ in range(TIMES):
                await talk.accepts(MANY)
                await asyncio.to_thread(primary.kill)
                await talk.accepts(rng.randrange(MANY))
                await asyncio.to_thread(primary.start)
                await asyncio.gather(*map(drained, pair.relays))
            await talk.accepts(MANY)
            await asyncio.to_thread(primary.kill)
            await asyncio.to_thread(standby.promote)
            await asyncio.gather(*map(drained, pair.relays))
            await talk.accepts(MANY)
        assert client.alive, client.errors
        most = WINDOW * (TIMES + 1)
        await check(trial, judged, "PostgreSQL killed under two", TIMES, most, away=True)


@pytest.mark.deep
async def test_forwards_of_one_that_died_are_run_by_the_other(
    primary: Cluster, pairing: Pairing
) -> None:
    """Once nobody believes any more that it runs them."""
    async with pairing(primary, forward_allow="127.0.0.1") as pair:
        trial = pair.trial
        for number in range(FORWARDS):
            url = f"http://{trial.target.address}/{number}"
            body = {"channel": "chatwoot", "name": f"forward-{number}", "url": url}
            await trial.relay.control("POST", "forwards", body)
        token = trial.relay.send_token
        await trial.relay.send(message(token, 1, 1))
        await trial.target.received(FORWARDS)

        async def runs(relay: Relay) -> int:
            status = await relay.control("GET", "status")
            return sum(one["connected"] for one in status["subscriptions"])

        async def all_run() -> bool:
            return sum([await runs(relay) for relay in pair.relays]) == FORWARDS

        await until_true(all_run)
        await trial.settle()
        [killed] = [relay for relay in pair.relays if await runs(relay)][:1]
        other = pair.other(killed)
        killed.server.kill()
        watch = Stopwatch()
        await other.send(message(token, 1, 2))
        await trial.target.received(2 * FORWARDS)
        assert watch.elapsed_s <= FORWARDED_S
        await trial.settle()
        assert set(Counter(trial.target.event_ids).values()) == {FORWARDS}, "none of them twice"
