"""What a command means: which channel, subscription, event and time."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

from relay_client.errors import NothingFound, UsageError
from relay_client.options import Given
from relay_terminal.words import N_, _

NAMED_HELP = N_("Its id, the end of that (6 characters or more), @PIN or latest.")

LOOK_S = 10.0  # for a list of events: what is older is asked for by itself
PAGE = 500  # events of a list that are asked for at once

_WHOLE_ID = re.compile(r"evt_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_END_OF_ID = re.compile(r"(?:evt_)?(?=[a-f-]*[0-9])[0-9a-f-]{6,36}")


async def channel_of(given: Given) -> str:
    """The one that is set, or that the token makes clear."""
    channel = given.configuration.settings.channel
    return channel or await given.api.choose_channel(_("Say which one: --channel NAME"))


async def name_of(given: Given) -> str:
    """The subscription that is set, or the token's."""
    return given.configuration.settings.name or (await given.api.whoami()).name


def names_event(word: str) -> bool:
    """True if a word names one event, and is no part of a filter."""
    word = word.removeprefix("…")  # as the live line shows the end of an id
    return word == "latest" or word.startswith("@") or _END_OF_ID.fullmatch(word) is not None


async def event_of(given: Given, word: str) -> str:
    """The id of the event that a word names.

    Raises:
        NothingFound: There is none.
        UsageError: The word names several.
        RelayProblem: The relay knows none that ends so, or several.
    """
    word = word.removeprefix("…")
    if _WHOLE_ID.fullmatch(word):
        return word
    if word == "latest":
        return await _latest(given)
    if word.startswith("@"):
        return await _pinned(given, word[1:])
    return (await given.api.event(word)).read().id


async def _latest(given: Given) -> str:
    from relay_client.answers import Latest

    channel, before = await channel_of(given), None
    while True:
        query = {"channel": channel, "before": before}
        found = (await given.api.ask("GET", "events/latest", Latest, **query)).read()
        if found.event is not None:
            return found.event.id
        if found.complete or not found.scanned_to:
            raise NothingFound(_("nothing came to {channel} yet").format(channel=channel))
        before = found.scanned_to


async def _pinned(given: Given, name: str) -> str:
    from relay_client.answers import Pins

    query = {"channel": given.configuration.settings.channel}
    pins = (await given.api.ask("GET", "pins", Pins, **query)).read().pins
    found = [pin for pin in pins if pin.name == name]
    if not found:
        raise NothingFound(
            _("no event is pinned as {name}").format(name=name),
            _("relay-client pins lists those there are."),
        )
    if len(found) > 1:
        channels = ", ".join(pin.channel for pin in found)
        raise UsageError(
            _("an event of each of {channels} is pinned as {name}").format(
                channels=channels, name=name
            ),
            _("Say which one: --channel NAME"),
        )
    return found[0].id


def filter_of(
    words: Iterable[str] | None, more: str | None = None, **terms: str | None
) -> str | None:
    """Words of a command line, and terms such as `kind=…`, as one filter; None without any."""
    plain = {word: text.replace('"', " ") for word, text in terms.items() if text}
    said = [f'{word}:"{text}"' for word, text in plain.items()]
    return " ".join([*(words or ()), *([more] if more else []), *said]) or None


def moment(text: str | None, option: str) -> int | None:
    """A time or a span back, in Unix milliseconds."""
    from relay_client.routes import parse_since

    if text is None:
        return None
    now = round(time.time() * 1_000)
    found = parse_since(text, now, option)
    return now if found is None else found


async def newest_events(
    given: Given, query: Mapping[str, Any], limit: int
) -> tuple[list[Any], int | None]:
    """The newest events that a query means, as the relay lists them.

    Returns:
        They, and before which sequence older ones may be; None where all were looked at.
    """
    from relay_client.answers import Events

    found, before, end = list[Any](), query.get("before"), time.monotonic() + LOOK_S
    while True:
        asked = {**query, "before": before, "limit": min(limit - len(found), PAGE)}
        page = await given.api.ask("GET", "events", Events, **asked)
        read = page.read()
        found += page.whole["events"]
        before = None if read.next is None else read.scanned_to
        if before is None or len(found) >= limit or time.monotonic() > end:
            return found, before
