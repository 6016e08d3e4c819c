"""Edited events that readers were not told of, of those channels in which somebody wants them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence

from relay_server.live.rendering import StatesOf
from relay_server.reported import DeliveryState
from relay_server.store.interface import Store
from relay_server.values import Channel, ChannelNumber, Event

PIECE = 20  # edited events of a channel that a feed asks for at once; it seldom has more to tell


class EditedEvents:
    """How far all who want them were told of each channel's.

    Attributes:
        told: The last sequence of each channel's edited events that was told. One that is not in
            it, and is watched, was made since: all of its are to be told.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.told = dict[ChannelNumber, int]()

    async def begin(self, channels: Iterable[Channel]) -> None:
        """Note what there is, of which who comes now is not told.

        Raises:
            StoreUnavailable: The store cannot be read now.
        """
        for channel in channels:
            if channel.number not in self.told:
                found = await self._store.list_edited(channel.number, None, None, 1)
                self.told[channel.number] = found[0].event.sequence if found else 0

    def forget(self, channel: Channel) -> None:
        """Nobody wants those of a channel: who does next begins anew."""
        self.told.pop(channel.number, None)

    async def untold(self, channel: Channel) -> AsyncIterator[tuple[Event, StatesOf]]:
        """Each that was not told, in order, and how far its delivery is.

        Raises:
            StoreUnavailable: The store cannot be read now.
        """
        for sequence in await self._sequences(channel):
            events = await self._store.fetch(-channel.number, [sequence])
            [states] = await self._store.deliveries(-channel.number, [sequence])
            for event in events:  # unless it is gone
                yield event, _known(states)
            self.told[channel.number] = sequence

    async def _sequences(self, channel: Channel) -> list[int]:
        found, before, told = list[int](), None, self.told.get(channel.number, 0)
        while True:
            page = await self._store.list_edited(channel.number, None, before, PIECE)
            sequences = [edited.event.sequence for edited in page]
            if before is None and sequences and sequences[0] < told:
                told = 0  # all were deleted meanwhile, and they are counted anew
            new = [sequence for sequence in sequences if sequence > told]
            found += new
            if len(new) < PIECE:
                return found[::-1]
            before = new[-1]


def _known(states: Sequence[DeliveryState]) -> StatesOf:
    return lambda _: states
