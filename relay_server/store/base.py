"""What the server asks of a store, whichever keeps it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from relay_server.values import (
    Appended,
    Catalog,
    Channel,
    ChannelConfig,
    ChannelNumber,
    ChannelStatus,
    Claim,
    DeliveryState,
    Event,
    EventSummary,
    NewEvent,
    Outline,
    Progress,
    Subscription,
    SubscriptionNumber,
    SubscriptionStatus,
    Token,
)

Listener = Callable[[ChannelNumber], None]


class EventStore(Protocol):
    """Events and how far each subscription is with them, kept across restarts.

    Every implementation passes `tests/contract/test_event_store.py`. Unless a method says
    otherwise, what it changed survives a crash once it has returned, and it raises
    `StoreUnavailable` when nothing was changed.
    """

    async def append(self, channel: ChannelNumber, event: NewEvent) -> Appended:
        """Store a webhook. One with the same sender's id and body as an earlier one is that one.

        Raises:
            ChannelNotFound: The channel was deleted.
            StoreUnavailable: Nothing was stored; the sender should try again.
        """

    async def outlines(self, channel: ChannelNumber, after: int, limit: int) -> Sequence[Outline]:
        """Read what scheduling needs of the next events after a sequence, in order."""

    async def fetch(self, channel: ChannelNumber, sequences: Sequence[int]) -> Sequence[Event]:
        """Read whole events, in the order asked for; those that are gone are left out."""

    async def claim(self, subscription: SubscriptionNumber) -> Claim | None:
        """Become the one who records this subscription's progress; None if it is gone."""

    def record(self, claim: Claim, progress: Progress) -> None:
        """Note progress, to be written with the next commit, within 50 ms.

        A crash before that repeats deliveries, and loses none. What an older claim records is
        dropped; recording twice is harmless.
        """

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call back, in the event loop, after each commit that brought a channel events.

        Returns:
            A function that ends it.
        """

    async def flush(self) -> None:
        """Return once all that was recorded before survives a crash."""

    # The catalogue.

    @property
    def catalog(self) -> Catalog:
        """Channels and tokens as they are now, without waiting."""

    async def create_channel(self, name: str, config: ChannelConfig, now: int) -> Channel:
        """Make a channel.

        Raises:
            ChannelExists: The name is taken.
        """

    async def set_channel(self, name: str, config: ChannelConfig) -> Channel:
        """Replace a channel's configuration.

        Raises:
            ChannelNotFound: No channel has this name.
        """

    async def delete_channel(self, name: str) -> None:
        """Delete a channel with its events and subscriptions.

        Raises:
            ChannelNotFound: No channel has this name.
        """

    async def create_token(self, token: Token) -> None:
        """Keep a token.

        Raises:
            TokenExists: The name is taken.
        """

    async def revoke_token(self, name: str) -> None:
        """Forget a token.

        Raises:
            TokenNotFound: No token has this name.
        """

    async def subscribe(
        self, channel: str, name: str, since: int | None, now: int
    ) -> tuple[Subscription, bool]:
        """Find a subscription, or make one that starts at a time (None: with the next event).

        Returns:
            The subscription, and whether it is new.

        Raises:
            ChannelNotFound: No channel has this name.
        """

    async def unsubscribe(self, subscription: SubscriptionNumber) -> None:
        """Forget a subscription and its progress; nothing is kept for it any more."""

    # Looking at it.

    async def channel_status(self) -> Sequence[ChannelStatus]:
        """Say how full each channel is, by name."""

    async def subscription_status(
        self, only: Iterable[SubscriptionNumber] | None = None
    ) -> Sequence[SubscriptionStatus]:
        """Say how each subscription is doing, by channel and name."""

    async def list_events(
        self, channel: ChannelNumber, before: int | None, limit: int
    ) -> Sequence[EventSummary]:
        """List the events before a sequence, newest first."""

    async def find_event(self, event: str) -> Event | None:
        """Read an event by its id."""

    async def deliveries(self, channel: ChannelNumber, sequence: int) -> Sequence[DeliveryState]:
        """Say what became of an event for each subscription that it is for."""

    # Keeping house.

    async def trim(self, channel: ChannelNumber, received_before: int, limit: int) -> int:
        """Delete at most `limit` of the oldest events that every subscription has settled.

        Returns:
            How many were deleted.
        """

    async def backup(self, file: Path) -> None:
        """Write a copy of the whole store, as of one moment, to a file that does not exist yet.

        Raises:
            InvalidValue: The file exists, or cannot be written.
        """

    async def close(self) -> None:
        """Write what was recorded and let go of everything."""
