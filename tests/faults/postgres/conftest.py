"""A relay on PostgreSQL, whose clusters are real, keep what they say, and fail."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from random import Random

import pytest

from tests.support.postgres import Cluster, need_postgres
from tests.support.processes import ending
from tests.support.relay import Relay, running
from tests.support.trial import STRICT, Trial, open_trial

# Of settings: what opens what another replica sealed.
KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
DATABASE = "relay"
ANSWERED_S = 1.5  # Chatwoot gives up at 5
STEPS = 3  # that a webhook takes one after the other
TURNS = "relay_server.store.postgres.turns"

Opening = Callable[..., AbstractAsyncContextManager[Trial]]


@pytest.fixture
def primary() -> Iterator[Cluster]:
    """A cluster that loses nothing that it confirmed."""
    need_postgres()
    with Cluster() as cluster:
        cluster.create(DATABASE)
        yield cluster


@pytest.fixture
def standby(primary: Cluster) -> Iterator[Cluster]:
    """One that has all that the primary confirms."""
    cluster = Cluster()
    try:
        cluster.follow(primary)
        yield cluster
    finally:
        cluster.__exit__()


@pytest.fixture
def opening(tmp_path: Path, rng: Random, primary: Cluster) -> Opening:
    """Opens a trial on the primary, and on the standbys that it is given."""

    @asynccontextmanager
    async def opened(*standbys: Cluster, **settings: str) -> AsyncIterator[Trial]:
        url = place_of(primary, *standbys)
        folder, where = tmp_path / "trial", {"store_url": url, "secret_key": KEY, **settings}
        async with open_trial(folder, rng, constants=(), **where) as trial, trial.measuring():
            await trial.set_policy(**STRICT)
            yield trial

    return opened


@asynccontextmanager
async def open_replicas(folder: Path, *clusters: Cluster) -> AsyncIterator[tuple[Relay, Relay]]:
    """Two servers on a primary and its standbys; the same token sends to both."""
    settings = {"store_url": place_of(*clusters), "secret_key": KEY}
    first, second = Relay(folder / "a", **settings), Relay(folder / "b", **settings)
    for relay in (first, second):
        relay.folder.mkdir()
        # A server that a busy machine has no time for is waited for all the same.
        relay.constants = [(TURNS, name, 60.0) for name in ("GATHER_S", "PATIENCE_S", "BELIEVED_S")]
    async with running(first):
        with ending(second.processes):
            await second.start()
            second.send_token = first.send_token
            yield first, second


def check_answers(trial: Trial) -> None:
    """See that none was refused, and each 2xx came in time, but for what the machine took.

    Each webhook passes a few threads and an fsync, and any of these may be late on a busy one.
    """
    assert {one.refused for one in trial.ledger.said} <= {None}
    took = [one.answered - one.began for one in trial.ledger.said if one.answered is not None]
    limit_s = ANSWERED_S + STEPS * trial.late_s
    print(f"the slowest answer took {max(took):.3f} s of {limit_s:.3f} s")
    assert max(took) <= limit_s


def place_of(*clusters: Cluster) -> str:
    """The URL of a database that is in one of several clusters."""
    hosts = ",".join(f"127.0.0.1:{cluster.port}" for cluster in clusters)
    return f"postgresql://postgres@{hosts}/{DATABASE}"
