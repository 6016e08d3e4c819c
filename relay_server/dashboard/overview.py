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
from relay_server.operations.subscriptions import SubscriptionView, mine_first
from relay_terminal.retold import retold
from relay_terminal.words import _, plural

LATE_MS = 60_000  # after which what waits without a reader is worth a sentence
FEW = 2  # subscriptions with the same trouble that have a sentence each
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
    def is_young(self) -> bool:
        """Nothing has come, or nobody reads it."""
        return not (self.readers and self.state.last_received_at)

    @property
    def dead(self) -> int:
        """Deliveries that were given up."""
        return sum(reader.dead for reader in self.readers)


async def overview(request: web.Request, visitor: Visitor) -> web.Response:
    """`GET /`."""
    who, found = visitor.who, await status(visitor.who)
    found.subscriptions = mine_first(who, found.subscriptions)
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
    young = next((line for line in lines if line.is_young), None)
    return render(
        request, "overview.html", visitor=visitor, lines=lines, young=young, sentences=sentences
    )


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
        said += _of_subscription(one)
    said += _of_deliveries(found.subscriptions, now)
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
        reasons = {retold(group.reason) for group in refused}
        if len(reasons) == 1:
            text = _("{sentence} Why: {reason}.").format(sentence=text, reason=reasons.pop())
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


def _of_subscription(one: SubscriptionView) -> list[Sentence]:
    name, said = _("{name} of {channel}").format(name=one.name, channel=one.channel), []
    if one.hand_off_trouble:
        text = _("{name} of {channel} cannot hand conversations to people: {reason}")
        text = text.format(name=one.name, channel=one.channel, reason=retold(one.hand_off_trouble))
        said.append(Sentence("bad", text, "/subscriptions", _("Look")))
    if one.told_twice:
        text = _("{name} gets messages more than once: a bot answers them as often.")
        link = "/compare?a={}&b={}".format(*one.told_twice)
        said.append(Sentence("care", text.format(name=name), link, _("Compare")))
    return said


def _of_deliveries(subscriptions: list[SubscriptionView], now: int) -> list[Sentence]:
    """What keeps webhooks from who reads: of a trouble that many have one sentence."""
    having: dict[str, list[SubscriptionView]] = {}
    for one in subscriptions:
        having.setdefault(_trouble(one, now), []).append(one)
    having.pop("", None)
    return [
        sentence
        for trouble, those in having.items()
        for sentence in (
            [_of_one(trouble, one, now) for one in those]
            if len(those) <= FEW
            else [_of_many(trouble, those, now)]
        )
    ]


def _trouble(one: SubscriptionView, now: int) -> str:
    if one.paused:
        return "paused"
    if one.oldest_waiting_at is not None and now - one.oldest_waiting_at >= LATE_MS:
        if one.target_down:
            return "down"
        if not one.connected:
            return "unread"
    return "retrying" if one.retrying else ""


def _of_one(trouble: str, one: SubscriptionView, now: int) -> Sentence:
    name = _("{name} of {channel}").format(name=one.name, channel=one.channel)
    if trouble == "paused":
        waits = plural("{number} waits", "{number} wait", one.backlog)
        text = _("{name} is paused ({reason}): {waits}.")
        text = text.format(name=name, reason=retold(one.paused), waits=waits)
        return Sentence("bad", text, "/subscriptions", _("Resume"))
    if trouble == "down":
        text = _("{name} waits for its target, which does not answer: {waits}")
        text = text.format(name=name, waits=_waits([one], now))
        return Sentence("bad", text, "/subscriptions", _("Look"))
    if trouble == "unread":
        text = _("{name} has no reader: {waits}").format(name=name, waits=_waits([one], now))
        return Sentence("care", text, "/subscriptions", _("Look"))
    text = plural(
        "{name}: {number} delivery failed, and is tried again.",
        "{name}: {number} deliveries failed, and are tried again.",
        one.retrying,
    ).format(name=name)
    return Sentence("care", text, f"/channels/{one.channel}?q=is%3Afailed", _("See which"))


def _of_many(trouble: str, those: list[SubscriptionView], now: int) -> Sentence:
    level, text = {
        "paused": ("bad", _("{number} subscriptions are paused: {waits}")),
        "down": ("bad", _("{number} subscriptions wait for targets that do not answer: {waits}")),
        "unread": ("care", _("{number} subscriptions have no reader: {waits}")),
        "retrying": ("care", _("Deliveries of {number} subscriptions fail, and are tried again.")),
    }[trouble]
    text = text.format(number=len(those), waits=_waits(those, now))
    return Sentence(level, text, "/subscriptions", _("Look"))


def _waits(those: list[SubscriptionView], now: int) -> str:
    oldest = min(one.oldest_waiting_at or now for one in those)
    return plural(
        "{number} waits, for {time}.",
        "{number} wait, the oldest for {time}.",
        sum(one.backlog for one in those),
    ).format(time=span(now - oldest))


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
