"""Where a queue's outlines come from: live traffic, or what a replay's selection means.

Live traffic is every event of a channel that the subscription's filter means. Where there is no
filter, outlines alone are read. Otherwise the store *sifts*: its thread reads the bodies and asks
the filter, and passes over what is settled above the floor already. A replay is what its selection
means, up to the last event that there was when it was asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

from relay_server.filters.document import Document
from relay_server.filters.language import EVERYTHING, TEXT, Filter
from relay_server.store.interface import Store
from relay_server.values import ChannelNumber, Event, Outline, ReaderNumber, Replay

# Bodies of new events that a filter is asked of in the event loop: some 2 ms. With more they are
# read, so that a thread does it.
SIFT_FED_BYTES = 262_144
SEARCH_FED_BYTES = 16_384  # the same where it looks for words in them


class Source:
    """Outlines in the store's order, piece by piece.

    Args:
        channel: Whose events they are.
        reader: Who reads.
        replay: What is to be delivered again; None for live traffic.

    Attributes:
        channel: Whose bodies are read: the channel's, or the edited ones of it.
        filter: What of live traffic is meant.
        filtered: What it leaves out is to be settled.
        left_out_up_to: Nothing behind it was left out: there no look at what was is needed.
    """

    __slots__ = (
        "_fed_bytes",
        "_reader",
        "_replay",
        "_store",
        "channel",
        "filter",
        "filtered",
        "left_out_up_to",
    )

    def __init__(
        self, store: Store, channel: ChannelNumber, reader: ReaderNumber, replay: Replay | None
    ) -> None:
        self.channel = -channel if replay is not None and replay.edited else channel
        self.filter = EVERYTHING
        self.filtered = False
        self.left_out_up_to = store.newest(channel)
        self._store = store
        self._reader = reader
        self._replay = replay
        self._fed_bytes = SIFT_FED_BYTES

    def set_filter(self, wanted: Filter, *, filtered: bool) -> None:
        """Bring what a filter means, from now on."""
        searches = any(term.word == TEXT for term in wanted.terms)
        self._fed_bytes = SEARCH_FED_BYTES if searches else SIFT_FED_BYTES
        self.filter, self.filtered = wanted, filtered

    def means(self, event: Event) -> bool:
        """Whether its filter means an event; also called in another thread."""
        return self.filter.matches(Document(event))

    def asks_at_once(self, events: Sequence[Event]) -> bool:
        """True if the filter may be asked of all of these in the event loop."""
        return sum(len(e.body) for e in events) <= self._fed_bytes

    async def after(self, sequence: int, limit: int) -> tuple[Sequence[Outline], int, bool]:
        """What comes after a sequence, how far was looked, and whether that is all.

        Raises:
            StoreUnavailable: It cannot be read now.
        """
        if self._replay is not None:
            return await self._selected(self._replay, sequence, limit)
        if self.filtered and (self.filter.terms or sequence < self.left_out_up_to):
            means = self.means if self.filter.terms else None
            found = await self._store.sift(self.channel, self._reader, sequence, limit, means)
            return found.outlines, found.read_up_to, found.read_up_to == sequence
        outlines = await self._store.outlines(self.channel, sequence, limit)
        up_to = outlines[-1].sequence if outlines else sequence
        return outlines, up_to, len(outlines) < limit

    async def _selected(
        self, replay: Replay, sequence: int, limit: int
    ) -> tuple[Sequence[Outline], int, bool]:
        if sequence >= replay.until:
            return (), replay.until, True  # looking costs much the same however little it finds
        found = await self._store.select(self.channel, replay, sequence, limit)
        return found.outlines, found.read_up_to, found.read_up_to >= replay.until
