"""Each channel's target, and how to post to it."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from types import TracebackType
from typing import Any, Self

from relay_http.poster import Poster
from relay_http.target import Target
from relay_protocol.values import Delivery, Outcome


class Replayer:
    """Opens connections to the configured targets, and to nothing else.

    Use it as an async context manager.

    Args:
        targets: By channel.
        timeout_s: How long a target may take for its whole answer.
        concurrency: How many deliveries the caller replays at once; so many idle connections
            are kept for each target.
    """

    def __init__(self, targets: Mapping[str, Target], timeout_s: float, concurrency: int) -> None:
        self._targets = targets
        self._timeout_s = timeout_s
        self._concurrency = concurrency
        self._posters: dict[str, Poster] = {}  # by channel

    async def __aenter__(self) -> Self:
        self._posters = {
            channel: Poster(target, self._timeout_s, self._concurrency)
            for channel, target in self._targets.items()
        }
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for poster in self._posters.values():
            poster.close()

    def of(self, channel: str) -> Target:
        """The target of a channel."""
        return self._targets[channel]

    async def until_listening(self, channel: str) -> None:
        """Return once the channel's target takes connections."""
        await self._posters[channel].until_listening()

    def replay(self, delivery: Delivery) -> Coroutine[Any, Any, Outcome]:
        """Post a delivery to its channel's target. Whatever happens is told by the outcome."""
        return self._posters[delivery.channel].post(delivery)
