"""Which channel is meant where none is named."""

from __future__ import annotations

from relay_client import answers
from relay_client.api import Api
from relay_client.errors import UsageError

FAVOURITE_CHANNEL = "chatwoot"  # what `relay-server init` makes


def choose_channel(channels: list[str], hint: str) -> str:
    """Say which of a token's channels is meant.

    Args:
        channels: Those that the token may read.
        hint: How to name one.

    Raises:
        UsageError: It is not clear.
    """
    if len(channels) == 1:
        return channels[0]
    if FAVOURITE_CHANNEL in channels:
        return FAVOURITE_CHANNEL
    if not channels:
        raise UsageError("the token may read no channel", "Ask for one that may.")
    names = ", ".join(sorted(channels))
    raise UsageError(f"the token may read several channels: {names}", hint)


async def ask_for_channel(api: Api, hint: str) -> str:
    """Ask the relay for the token's channels, and choose."""
    mine = (await api.whoami()).channels
    if mine is None:
        found = answers.read(await api.channels(), answers.Channels).channels
        mine = tuple(channel.name for channel in found)
    return choose_channel(list(mine), hint)
