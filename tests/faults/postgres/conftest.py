"""A relay on PostgreSQL, whose clusters are real, keep what they say, and fail."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from random import Random

import pytest

from tests.support.needs import lacks
from tests.support.postgres import Cluster, programs
from tests.support.trial import STRICT, Trial, open_trial

# Of settings: what opens what another replica sealed.
KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
DATABASE = "relay"

Opening = Callable[..., AbstractAsyncContextManager[Trial]]


@pytest.fixture
def primary() -> Iterator[Cluster]:
    """A cluster that loses nothing that it confirmed."""
    if programs() is None:
        lacks("PostgreSQL (on Debian: apt install postgresql)")
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
        folder, where = tmp_path / "trial", {"store_url": url, "secret_key": KEY}
        async with open_trial(folder, rng, constants=(), **where, **settings) as trial:
            await trial.set_policy(**STRICT)
            yield trial

    return opened


def place_of(*clusters: Cluster) -> str:
    """The URL of a database that is in one of several clusters."""
    hosts = ",".join(f"127.0.0.1:{cluster.port}" for cluster in clusters)
    return f"postgresql://postgres@{hosts}/{DATABASE}"
