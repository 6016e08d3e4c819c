"""How often a property test tries."""

from __future__ import annotations

from hypothesis import settings

USUAL = 100  # hypothesis' own


def tries(count: int) -> settings:
    """So often with `make test`, and a quarter of it with `make quick`, as all that say nothing."""
    return settings(max_examples=max(1, count * settings().max_examples // USUAL))
