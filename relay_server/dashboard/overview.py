"""The first page: what needs somebody, in sentences, the worst first; and the channels."""

from __future__ import annotations

from typing import NamedTuple

from aiohttp import web

from relay_server.dashboard.rendering import render, span
from relay_server.dashboard.sample import may_send
from relay_server.dashboard.visit import Visitor, page
from relay_server.operations import Caller
from relay_server.operations.channels import webhook_path
from relay_server.operations.drifts import DriftView
from relay_server.operations.pulse import Minute, PulseFields, show_pulse
from relay_server.operations.refused import HOUR_MS, RefusedFields, list_refused
from relay_server.operations.server import ChannelState, Status, status
from relay_server.operations.subscriptions import SubscriptionView
from relay_terminal.retold import retold
from relay_terminal.words import _, plural

LATE_MS = 60_000  # after which what waits without a reader is worth a sentence
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
    """A channel, its URL, whether the visitor may send to it, and what reads it."""

    state: ChannelState
    webhook: str
    may_send: bool
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
            who.parts.settings.url + webhook_path(who.parts, who.channel(channel.name)),
            may_send(who, who.channel(channel.name)),
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
        said.append(Sentence("bad", _("Webhooks are refused: the store takes none.")))
    for missed in found.store.database.unreached if found.store.database else ():
        text = _("The server {name} cannot reach {other}: clients that share may be refused.")
        text = text.format(name=missed.by, other=missed.other)
        said.append(Sentence("care", text, "/setup#server", _("See why")))
    for one in found.subscriptions:
        said += _of_subscription(one, now)
    if dead := sum(line.dead for line in lines):
        text = plural(
            "{number} delivery was given up: it is not lost.",
            "{number} deliveries were given up: none of them is lost.",
            dead,
        )
        said.append(Sentence("bad", text, "/dead", _("See them")))
    report = await list_refused(who, RefusedFields())
    refused = [group for group in report.groups if now - group.last_at < HOUR_MS]
    if times := sum(group.count for group in refused):
        text = plural(
            "{number} request was refused, {time} ago.",
            "{number} requests were refused, the last {time} ago.",
            times,
        ).format(time=span(now - refused[0].last_at))
        said.append(Sentence("care", text, "/refused", _("See why")))
    said += [_of_drift(drift, now) for drift in found.drifts]
    for channel in found.channels:
        if channel.worrying and channel.full_percent is not None:
            text = _(
                "Channel {channel} is {percent:.0f} % full, and nothing in it can go by itself."
            ).format(channel=channel.name, percent=channel.full_percent)
            said.append(Sentence("care", text, f"/channels/{channel.name}", _("Look")))
    order = {"bad": 0, "care": 1, "good": 2}
    return sorted(said, key=lambda sentence: order[sentence.level]) or [_all_well(found, now)]


def _of_drift(drift: DriftView, now: int) -> Sentence:
    text = _("{kind} of {channel} came with other fields {time} ago: another version sends it?")
    facts = {"kind": drift.kind or "-", "channel": drift.channel}
    link = f"/compare?a={drift.before}&b={drift.after}"
    return Sentence("care", text.format(**facts, time=span(now - drift.at)), link, _("Compare"))


def _of_subscription(one: SubscriptionView, now: int) -> list[Sentence]:
    name, said = _("{name} of {channel}").format(name=one.name, channel=one.channel), []
    if one.hand_off_trouble:
        text = _("{name} of {channel} cannot hand conversations to people: {reason}")
        text = text.format(name=one.name, channel=one.channel, reason=retold(one.hand_off_trouble))
        said.append(Sentence("bad", text, "/subscriptions", _("Look")))
    if one.told_twice:
        text = _("{name} gets messages more than once: a bot answers them as often.")
        link = "/compare?a={}&b={}".format(*one.told_twice)
        said.append(Sentence("care", text.format(name=name), link, _("Compare")))
    return said + _of_delivery(one, name, now)


def _of_delivery(one: SubscriptionView, name: str, now: int) -> list[Sentence]:
    if one.paused:
        waits = plural("{number} waits", "{number} wait", one.backlog)
        text = _("{name} is paused ({reason}): {waits}.")
        text = text.format(name=name, reason=retold(one.paused), waits=waits)
        return [Sentence("bad", text, "/subscriptions", _("Resume"))]
    waited = now - one.oldest_waiting_at if one.oldest_waiting_at is not None else 0
    if waited >= LATE_MS and (one.target_down or not one.connected):
        waits = plural(
            "{number} waits, for {time}.", "{number} wait, the oldest for {time}.", one.backlog
        ).format(time=span(waited))
        return [_unread(one, name, waits)]
    if one.retrying:
        text = plural(
            "{name}: {number} delivery failed, and is tried again.",
            "{name}: {number} deliveries failed, and are tried again.",
            one.retrying,
        ).format(name=name)
        link = f"/channels/{one.channel}?q=is%3Afailed"
        return [Sentence("care", text, link, _("See which"))]
    return []


def _unread(one: SubscriptionView, name: str, waits: str) -> Sentence:
    if one.target_down:
        text = _("{name} waits for its target, which does not answer: {waits}")
        text = text.format(name=name, waits=waits)
        return Sentence("bad", text, "/subscriptions", _("Look"))
    text = _("{name} has no reader: {waits}").format(name=name, waits=waits)
    return Sentence("care", text, "/subscriptions", _("Look"))


def _all_well(found: Status, now: int) -> Sentence:
    times = [c.last_received_at for c in found.channels if c.last_received_at is not None]
    if not times:
        return Sentence("good", _("Nothing has come yet."))
    text = plural(
        "The channel delivers. The last webhook came {time} ago.",
        "All {number} channels deliver. The last webhook came {time} ago.",
        len(found.channels),
    )
    return Sentence("good", text.format(time=span(now - max(times))))


routes = [web.get("/", page(overview))]
