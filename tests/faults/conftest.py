"""What is for the deep run alone, chance, a trial, and verdicts printed at the end of the run."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random

import pytest

from tests.support.ledger import Verdict
from tests.support.seeds import chance, is_deep
from tests.support.trial import Trial, open_trial

Judged = Callable[..., None]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is for the deep run alone."""
    if is_deep():
        return
    deep = [item for item in items if item.get_closest_marker("deep")]
    items[:] = [item for item in items if item not in deep]
    config.hook.pytest_deselected(items=deep)


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> Random:
    """What happens at random in this test: the same for the same seed of the run."""
    return chance(request.node.nodeid)


@pytest.fixture
async def trial(tmp_path: Path, rng: Random) -> AsyncIterator[Trial]:
    """A relay with all constants as they are, a target, and a proxy between relay and clients."""
    async with open_trial(tmp_path / "trial", rng) as trial:
        yield trial


@pytest.fixture
def judged(record_property: Callable[[str, object], None]) -> Judged:
    """Check a verdict, and have its figures printed at the end of the run."""

    def check(
        verdict: Verdict, fault: str, times: int, *, duplicates: int = 0, in_order: bool = True
    ) -> None:
        """Fail unless the promise was kept.

        Args:
            verdict: The ledger's.
            fault: What was done to it, for the summary.
            times: How often.
            duplicates: So many at the most.
            in_order: Those of a key must be.
        """
        record_property("verdict", {"fault": fault, "times": times, **verdict.counts})
        if not in_order:
            verdict = dataclasses.replace(verdict, out_of_order=())
        assert verdict.kept, str(verdict)
        assert verdict.taken, "nothing came, so nothing was tested"
        assert verdict.duplicates <= duplicates, str(verdict)

    return check
