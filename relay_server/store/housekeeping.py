"""Keeping the SQLite store small and safe: trimming, purging, backup."""

from __future__ import annotations

import json
import os
from pathlib import Path

import apsw

from relay_server.errors import InvalidValue
from relay_server.store.database import Database, translate
from relay_server.store.positions import first, last, position, sequence_of
from relay_server.values import ChannelNumber, SubscriptionNumber

PURGE_ROWS = 500  # in one transaction, so that webhooks wait little


def trim(database: Database, channel: ChannelNumber, received_before: int, limit: int) -> int:
    """Delete the oldest events that every subscription has settled, none of them dead."""
    floor = database.value("settled_by_all", channel)
    end = last(channel) if floor is None else position(channel, floor)
    rows = database.all("trimmable", first(channel), end, received_before, channel, limit)
    positions = [at for (at,) in rows]
    sequences = json.dumps([sequence_of(at) for at in positions])
    database.run("delete_attempts", channel, sequences)
    database.run("delete_deliveries", channel, sequences)
    database.run("delete_events", json.dumps(positions))
    return len(positions)


def delete_channel(database: Database, channel: ChannelNumber) -> None:
    """Delete a channel and its subscriptions; `purge` deletes its events."""
    database.run("delete_channel_attempts", channel)
    database.run("delete_channel_deliveries", channel)
    database.run("delete_channel_subscriptions", channel)
    database.run("delete_channel", channel)
    database.run("begin_purge", channel)


def unsubscribe(database: Database, subscription: SubscriptionNumber) -> None:
    """Delete a subscription and its progress."""
    database.run("delete_subscription_attempts", subscription)
    database.run("delete_subscription_deliveries", subscription)
    database.run("delete_subscription", subscription)


def purge(database: Database) -> bool:
    """Delete some events of channels that are gone; False when none are left."""
    channel = database.value("purges")
    if channel is None:
        return False
    rows = database.all("channel_positions", first(channel), last(channel), PURGE_ROWS)
    database.run("delete_events", json.dumps([at for (at,) in rows]))
    if len(rows) < PURGE_ROWS:
        database.run("end_purge", channel)
    return True


def backup(path: Path, file: Path) -> None:
    """Copy the database as of one moment, while others write to it.

    Raises:
        InvalidValue: The file exists, or cannot be written.
    """
    try:
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError as exc:
        raise InvalidValue(f"{file} exists already; a backup overwrites nothing") from exc
    except OSError as exc:
        raise InvalidValue(f"{file} cannot be written: {exc.strerror}") from exc
    try:
        _copy(path, file)
    except apsw.Error as exc:
        file.unlink(missing_ok=True)
        raise translate(exc) from exc


def _copy(path: Path, file: Path) -> None:
    database = Database(path)
    try:
        database.connection.execute("VACUUM INTO ?", (str(file),))
    finally:
        database.close()
    _sync(file)


def _sync(file: Path) -> None:
    for path in (file, file.parent):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
