"""A sink for readers that remembers what it got and answers as it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from relay_protocol.values import Delivery, Outcome
from relay_server.delivery.reader import Reader

Script = Callable[[Delivery], Outcome | None]


class FakeSink:
    """Takes up to `window` deliveries at once, and sends them when it is flushed.

    Args:
        script: What the target says to a delivery; None leaves it under way.

    Attributes:
        flushed: How many went out together, each time that any did.
    """

    def __init__(self, script: Script = lambda _: None, window: int = 32) -> None:
        self.script = script
        self.window = window
        self.reader: Reader | None = None  # set it before the reader runs
        self.got: list[Delivery] = []
        self.under_way: dict[str, Delivery] = {}
        self.most_under_way = 0
        self.flushed: list[int] = []
        self._unsent: list[Delivery] = []

    @property
    def sequences(self) -> list[int]:
        """Sequences in the order they came, repeats included."""
        return [delivery.event.sequence for delivery in self.got]

    @property
    def attempts(self) -> list[tuple[int, int]]:
        """(sequence, attempt) in the order they came."""
        return [(delivery.event.sequence, delivery.attempt) for delivery in self.got]

    @property
    def credit(self) -> int:
        return self.window - len(self.under_way)

    def accepts(self, size: int) -> bool:
        return len(self.under_way) < self.window

    def deliver(self, delivery: Delivery) -> None:
        self.under_way[delivery.id] = delivery
        self.most_under_way = max(self.most_under_way, len(self.under_way))
        self._unsent.append(delivery)

    def flush(self) -> None:
        if not (sent := self._unsent):
            return
        self._unsent = []
        self.flushed.append(len(sent))
        for delivery in sent:
            self.got.append(delivery)
            outcome = self.script(delivery)
            if outcome is not None:
                asyncio.get_running_loop().call_soon(self.answer, delivery.id, outcome)

    def answer(self, delivery: str, outcome: Outcome) -> None:
        """The target's answer comes."""
        self.under_way.pop(delivery, None)
        assert self.reader is not None
        self.reader.finish(self, delivery, outcome)

    def answer_all(self, outcome: Outcome, deliveries: Iterable[str] | None = None) -> None:
        """The same answer to everything that is under way."""
        for delivery in list(self.under_way if deliveries is None else deliveries):
            self.answer(delivery, outcome)
