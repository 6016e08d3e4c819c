"""The first page: what needs somebody, in sentences, the worst first; and the channels."""

from __future__ import annotations

from typing import NamedTuple

from aiohttp import web

from relay_server.dashboard.rendering import render, span
from relay_server.dashboard.visit import Visitor, page
from relay_server.operations import Caller
from relay_server.operations.pulse import Minute, PulseFields, show_pulse
from relay_server.operations.refused import RefusedFields, list_refused
from relay_server.operations.server import ChannelState, Status, status
from relay_server.operations.subscriptions import SubscriptionView

LATE_MS = 60_000  # after which what waits without a reader is worth a sentence
HOUR_MS = 3_600_000
BARS = 60  # minutes of a channel's pulse


class Sentence(NamedTuple):
    """Something that is so.

    Attributes:
        level: `bad`, `care` or `good`.
        text: Of it.
        link: Where one goes on; empty for nowhere.
        action: What one does there.
    """

    level: str
    text: str
    link: str = ""
    action: str = ""


class ChannelLine(NamedTuple):
    """A channel, and what reads it."""

    state: ChannelState
    readers: list[SubscriptionView]
    bars: list[tuple[int, int]]

    @property
    def waiting(self) -> int:
        """Deliveries that wait, for all that read it."""
        return sum(reader.backlog for reader in self.readers)

    @property
    def dead(self) -> int:
        """Deliveries that were given up."""
        return sum(reader.dead for reader in self.readers)


async def overview(request: web.Request, visitor: Visitor) -> web.Response:
    """`GET /`."""
    who, found = visitor.who, await status(visitor.who)
    lines = [
        ChannelLine(
            channel,
            [one for one in found.subscriptions if one.channel == channel.name],
            bars_of((await show_pulse(who, PulseFields(channel.name, BARS))).minutes),
        )
        for channel in found.channels
    ]
    sentences = await _sentences(who, found, lines)
    return render(request, "overview.html", visitor=visitor, lines=lines, sentences=sentences)


def bars_of(minutes: list[Minute]) -> list[tuple[int, int]]:
    """Each minute's bar, of 100: what came, and how much of that height what failed is."""
    most = max((minute.received for minute in minutes), default=0) or 1
    return [
        (-(-100 * m.received // most), -(-100 * min(m.failed + m.dead, m.received) // most))
        for m in minutes
    ]


async def _sentences(who: Caller, found: Status, lines: list[ChannelLine]) -> list[Sentence]:
    now, said = who.now(), list[Sentence]()
    if not found.store.taking:
        said.append(Sentence("bad", "Webhooks are refused: the store takes none."))
    for one in found.subscriptions:
        said += _of_subscription(one, now)
    if dead := sum(line.dead for line in lines):
        text = f"{dead:,} deliveries were given up: none of them is lost."
        said.append(Sentence("bad", text, "/dead", "See them"))
    report = await list_refused(who, RefusedFields())
    refused = [group for group in report.groups if now - group.last_at < HOUR_MS]
    if times := sum(group.count for group in refused):
        text = f"{times:,} requests were refused, the last {span(now - refused[0].last_at)} ago."
        said.append(Sentence("care", text, "/refused", "See why"))
    for channel in found.channels:
        if channel.worrying and channel.full_percent is not None:
            full = f"Channel {channel.name} is {channel.full_percent:.0f} % full"
            text = f"{full}, and nothing in it can go by itself."
            said.append(Sentence("care", text, f"/channels/{channel.name}", "Look"))
    order = {"bad": 0, "care": 1, "good": 2}
    return sorted(said, key=lambda sentence: order[sentence.level]) or [_all_well(found, now)]


def _of_subscription(one: SubscriptionView, now: int) -> list[Sentence]:
    name = f"{one.name} of {one.channel}"
    if one.paused:
        text = f"{name} is paused ({one.paused}): {one.backlog:,} wait."
        return [Sentence("bad", text, "/subscriptions", "Resume")]
    if one.oldest_waiting_at is None or now - one.oldest_waiting_at < LATE_MS:
        return []
    waits = f"{one.backlog:,} wait, the oldest for {span(now - one.oldest_waiting_at)}."
    if one.target_down:
        text = f"{name} waits for its target, which does not answer: {waits}"
        return [Sentence("bad", text, "/subscriptions", "Look")]
    if not one.connected:
        return [Sentence("care", f"{name} has no reader: {waits}", "/subscriptions", "Look")]
    return []


def _all_well(found: Status, now: int) -> Sentence:
    times = [c.last_received_at for c in found.channels if c.last_received_at is not None]
    if not times:
        return Sentence("good", "Nothing has come yet.")
    count = len(found.channels)
    which = "The channel delivers" if count == 1 else f"All {count} channels deliver"
    return Sentence("good", f"{which}. The last webhook came {span(now - max(times))} ago.")


routes = [web.get("/", page(overview))]
