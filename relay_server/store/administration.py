"""What the server asks of a store beside events and their readers: for people, and upkeep.

Channels, tokens and subscriptions; who was invited and is logged in, and who did what; what people
ask; keeping it small and safe. What `interface` says of its protocols holds for these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from relay_server.configs import ORDINARY, ChannelConfig, SubscriptionConfig
from relay_server.metrics import Times
from relay_server.people import Invitation, LastUses, Noted, Session
from relay_server.reported import (
    Came,
    ChannelStatus,
    DatabaseStatus,
    DeliveryState,
    ReplayProgress,
    SubscriptionStatus,
)
from relay_server.values import (
    Catalog,
    Channel,
    ChannelNumber,
    Emptied,
    Removable,
    ReplayNumber,
    Subscription,
    SubscriptionNumber,
    Token,
)


class Catalogue(Protocol):
    """Channels, tokens and subscriptions; told to `feed` whenever one changes."""

    @property
    def catalog(self) -> Catalog:
        """Channels and tokens as they are now, without waiting."""

    async def create_channel(self, name: str, config: ChannelConfig, now: int) -> Channel:
        """Make a channel.

        Raises:
            ChannelExists: The name is taken.
        """

    async def change_channel(
        self, name: str, change: Callable[[ChannelConfig], ChannelConfig]
    ) -> Channel:
        """Change a channel's configuration; of two changes at once, one sees the other's.

        Args:
            name: The channel's.
            change: Returns the new one; called in any thread, perhaps twice. A `RelayError` that
                it raises is raised here, and nothing has changed.

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
        self,
        channel: str,
        name: str,
        since: int | None,
        now: int,
        config: SubscriptionConfig = ORDINARY,
    ) -> tuple[Subscription, bool]:
        """Find a subscription, or make one that starts at a time (None: with the next event).

        Returns:
            The subscription, and whether it is new.

        Raises:
            ChannelNotFound: No channel has this name.
            TooManySubscriptions: It has as many as it may.
        """

    async def subscriptions(self, channel: str | None = None) -> Sequence[Subscription]:
        """Every subscription, or those of a channel, by channel and name."""

    async def change_subscription(
        self,
        subscription: SubscriptionNumber,
        change: Callable[[SubscriptionConfig], SubscriptionConfig],
    ) -> Subscription:
        """Change how a subscription is set; `change` may be called in another thread.

        Raises:
            SubscriptionNotFound: It is gone.
        """

    async def unsubscribe(self, subscription: SubscriptionNumber) -> None:
        """Forget a subscription, its progress and replays; nothing is kept for it any more."""


class AuditLog(Protocol):
    """Who changed or saw what; the oldest entries go."""

    async def note(self, noted: Noted) -> None:
        """Add an entry."""

    async def noted(self, before: int | None, limit: int, now: int) -> Sequence[Noted]:
        """The newest entries before a number, or at all, that are young enough."""


class Invitations(Protocol):
    """Who may have a token made without having one. Tokens that are made are told to `feed`."""

    async def invite(self, invitation: Invitation) -> None:
        """Keep an invitation, and forget those that ended long ago.

        Raises:
            TokenExists: The name is taken, by a token or by an open invitation.
            TooManyInvitations: As many as may be open are.
        """

    async def invitations(self) -> Sequence[Invitation]:
        """Those that are open, and those that ended lately, the newest first."""

    async def withdraw(self, name: str, now: int) -> None:
        """Forget an open invitation.

        Raises:
            InvitationNotFound: None of this name is open.
        """

    async def accept(self, secret: bytes, token: bytes, now: int) -> Token:
        """Make the token of an invitation; what was made lately is found again.

        Args:
            secret: Digest of the invitation's.
            token: Digest of the token's: whoever brings the same one again is the same client.
            now: Unix milliseconds.

        Raises:
            InvitationUnknown: There is none.
            InvitationUsed: Another token was made of it, or this one long ago.
            InvitationExpired: It was not used in time.
            TokenExists: A token of its name was made meanwhile.
        """


class Sessions(Protocol):
    """Who is logged in to the dashboard. A session ends with its token, or after a while."""

    async def begin_session(self, session: Session) -> None:
        """Keep one; of a token's more than may be, that which was used longest ago ends."""

    async def session(self, digest: bytes, now: int) -> Session | None:
        """The session of a cookie, if there is one."""

    async def use_session(self, digest: bytes, address: str, now: int) -> None:
        """Have it last longer."""

    async def end_session(self, digest: bytes) -> bool:
        """End it, and tell `feed`; False where it is over."""

    async def sessions(self, now: int) -> Sequence[Session]:
        """All there are, that used last first."""


class Uses(Protocol):
    """When each token, and each signing secret of a channel, let somebody in last."""

    async def note_uses(self, uses: LastUses) -> None:
        """Keep them, but for what is gone; of two times of one the later stays."""

    async def last_uses(self) -> LastUses:
        """All that are kept."""


class Reports(Protocol):
    """What people ask: how full, how far, what became of it."""

    async def channel_status(self) -> Sequence[ChannelStatus]:
        """Say how full each channel is, by name."""

    async def database_status(self) -> DatabaseStatus | None:
        """Say how the database is, and which servers share it; None for a file."""

    async def subscription_status(
        self, only: Iterable[SubscriptionNumber] | None = None
    ) -> Sequence[SubscriptionStatus]:
        """Say how each subscription is doing, by channel and name."""

    async def came(self, subscription: SubscriptionNumber, since: int) -> Came:
        """Say what of a subscription's backlog was received since a time.

        What waits for its next attempt is none of it.
        """

    async def replay_progress(
        self, replays: Iterable[ReplayNumber], since: int
    ) -> Mapping[ReplayNumber, ReplayProgress]:
        """Say how far the deliveries of replays are; a replay without any is left out.

        Attempts since a time in Unix milliseconds count as recent.
        """

    async def deliveries(
        self, channel: ChannelNumber, sequences: Sequence[int]
    ) -> Sequence[Sequence[DeliveryState]]:
        """Say of each event what became of it for each subscription that it is for."""

    async def in_trouble(self, channel: ChannelNumber, limit: int) -> Sequence[int] | None:
        """Find all events of which a delivery is dead, or failed and is to be tried again.

        There may be others among them, which are under way, or were replayed.

        Returns:
            None where that is to look at as many deliveries as the limit says.
        """


class Housekeeping(Protocol):
    """Keeping channels small, and the whole of it safe."""

    def newest(self, channel: ChannelNumber) -> int:
        """The sequence of a channel's last event, without waiting; 0 where there never was one."""

    def usage(self, channel: ChannelNumber) -> int:
        """Bytes that a channel's events take, bodies and heads, without waiting."""

    def refused(self, channel: ChannelNumber) -> int:
        """Bytes of the largest webhook that `ChannelFull` met, until something was deleted.

        0 for none; one that is larger than the channel may ever be does not count.
        """

    def size(self) -> int:
        """Bytes that the store takes on its disk, without waiting."""

    @property
    def commits(self) -> Times:
        """How long each commit took, with its fsync."""

    async def removable(
        self, channel: ChannelNumber, received_before: int | None, after: int, limit: int
    ) -> Removable:
        """Find the oldest events that every subscription has settled, none of them dead.

        It looks at a bounded number of events after a sequence; call it again from there.
        """

    async def drop_bodies(
        self, channel: ChannelNumber, received_before: int, after: int, limit: int
    ) -> Emptied:
        """Drop bodies of events that every subscription has settled, none of them dead.

        What else is known of them stays. Pinned ones keep theirs. It looks at so many events behind
        a sequence that have a body and were received before a time; call it again from there.
        """

    async def remove(
        self, channel: ChannelNumber, sequences: Sequence[int], enough: int | None = None
    ) -> int:
        """Delete those of these events that every subscription has settled, none of them dead.

        It stops once enough bytes are free.

        Returns:
            How many were deleted.
        """

    async def drop_oldest(
        self, channel: ChannelNumber, limit: int, enough: int | None = None
    ) -> int:
        """Delete a channel's oldest events, and count as dropped what somebody still needed.

        It stops once enough bytes are free.

        Returns:
            How many were deleted.
        """

    async def forget_dead(
        self, channel: ChannelNumber, ended_before: int, limit: int, now: int
    ) -> int:
        """Let go of dead deliveries and of replays that ended before a time.

        Returns:
            How many dead deliveries there were.
        """

    async def sweep(self, limit: int) -> bool:
        """Delete some of what deleted channels, subscriptions and replays left.

        Returns:
            Whether there may be more.
        """

    async def left_to_sweep(self) -> int:
        """How many events of deleted channels are still there, roughly."""

    async def backup(self, file: Path) -> Sequence[str]:
        """Write a copy of the whole store, as of one moment, to a file that does not exist yet.

        Returns:
            Names of the keys that open its bodies; none where all are as they came.

        Raises:
            InvalidValue: The file exists, or cannot be written.
        """
