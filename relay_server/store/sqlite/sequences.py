"""The numbers that events get: each channel's own, without gaps, and none twice.

How it works. The last one given is kept here, so that a webhook alone writes its event's row and no
other of its own. The channel's row, with what it holds, follows after `UNCOUNTED` events. Until
then the events behind the row's `last_sequence` say the same: the view `counted` adds them.

That takes two rules:

- The row is up to date before anything else is done in a transaction. So no event is deleted that
  it does not count: what is behind `last_sequence` is all that was ever stored there.
- What is known here is what is committed: after anything else, and after a transaction that failed,
  it is read again. Then, and at the start, any row may be behind its events: all are looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

from relay_server.store.sqlite.database import Database
from relay_server.store.sqlite.sql import UNCOUNTED
from relay_server.values import ChannelNumber


@dataclass(slots=True)
class _Given:
    """What a channel's events got.

    Attributes:
        last: The last sequence.
        uncounted: So many of them its row does not count yet.
    """

    last: int
    uncounted: int


class Sequences:
    """Gives the next sequences of each channel; in the writer's thread, inside a transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._channels: dict[ChannelNumber, _Given] = {}
        self._sure = False  # that the rows of all other channels are up to date

    def take(self, channel: ChannelNumber, count: int) -> int | None:
        """The last one of so many more; None where the channel is gone."""
        given = self._channels.get(channel) or self._read(channel)
        if given is None:
            return None
        if given.uncounted + count > UNCOUNTED:
            self._database.run("count_events", channel=channel)
            given.uncounted = 0
        given.last += count
        given.uncounted += count
        return given.last

    def settle(self) -> None:
        """Have all rows up to date, for what may delete what they do not count."""
        if self._sure:
            behind = [channel for channel, given in self._channels.items() if given.uncounted]
        else:
            behind = [channel for (channel,) in self._database.all("uncounted_channels")]
        for channel in behind:
            self._database.run("count_events", channel=channel)
        self._channels.clear()
        self._sure = True

    def forget(self) -> None:
        """Know nothing any more: what was given may not be stored."""
        self._channels.clear()
        self._sure = False

    def _read(self, channel: ChannelNumber) -> _Given | None:
        row = self._database.one("given_sequences", channel=channel)
        if row is None:
            return None
        given = self._channels[channel] = _Given(*row)
        return given
