"""The credit window of one connection: how much may be under way to it at once.

Three bounds hold together:

- so many deliveries,
- so many bytes of their bodies,
- and beside these *one* body that alone is larger than all those bytes: otherwise a webhook of
  25 MiB could never go, and with more than one of them the window would bound nothing.

Credit is what is left of it. Whoever sends asks `accepts` first, `take`s when it sends and
`give_back`s when the result comes. Whoever receives counts the same way, and so knows a peer that
sends more than it may: `refusal` says of which bound. Both ends and the server's own posts count
with this class, so that they can never disagree.
"""

from __future__ import annotations

from collections.abc import Iterator

from relay_protocol.limits import WINDOW_BYTES


class Window:
    """Counts deliveries under way and their bytes. Every method takes constant time.

    Args:
        deliveries: How many may be under way.
        size: Bytes that their bodies may have together.
    """

    def __init__(self, deliveries: int, size: int = WINDOW_BYTES) -> None:
        self._deliveries = deliveries
        self._size = size
        self._under_way: dict[str, int] = {}  # delivery id → bytes of its body
        self._bytes = 0  # of bodies that fit
        self._large: str | None = None  # the delivery whose body does not

    def __len__(self) -> int:
        return len(self._under_way)

    def __iter__(self) -> Iterator[str]:
        return iter(self._under_way)

    def __contains__(self, delivery: str) -> bool:
        return delivery in self._under_way

    @property
    def credit(self) -> int:
        """How many more deliveries may be sent now, whatever they weigh; never negative."""
        return self._deliveries - len(self._under_way)

    def accepts(self, size: int) -> bool:
        """True if a body of so many bytes may be sent now."""
        return not self.refusal(size)

    def refusal(self, size: int) -> str:
        """The bound that one more body of so many bytes would break; empty for none."""
        if len(self._under_way) >= self._deliveries:
            return "more deliveries than the window allows"
        if size > self._size:
            return "a second body that is larger than the window" if self._large else ""
        return "more bytes than the window allows" if self._bytes + size > self._size else ""

    def take(self, delivery: str, size: int) -> None:
        """Count one that is sent; `accepts` said yes to it, and its id is not under way."""
        assert delivery not in self._under_way, "counted twice"
        assert not self.refusal(size), self.refusal(size)
        self._under_way[delivery] = size
        if size > self._size:
            self._large = delivery
        else:
            self._bytes += size

    def give_back(self, delivery: str) -> int | None:
        """Count one that ended: the bytes of its body, or None if it was not under way."""
        size = self._under_way.pop(delivery, None)
        if size is None:
            return None
        if delivery == self._large:
            self._large = None
        else:
            self._bytes -= size
        return size

    def clear(self) -> None:
        """Count nothing any more: the connection is gone."""
        self._under_way.clear()
        self._bytes, self._large = 0, None
