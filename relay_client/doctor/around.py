"""What keeps webhooks from coming though every part of the way works: pure checks of what is known.

Each gives a `ClientError` for what fails, a `Care` for what only should be known, or what was found
in words.
"""

from __future__ import annotations

import email.utils
import shlex
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from relay_client import lifetimes
from relay_client.answers import ChannelStatus, Status, SubscriptionStatus
from relay_client.errors import ClientError
from relay_protocol.text import harmless
from relay_terminal.layout import duration, when
from relay_terminal.states import pause_of
from relay_terminal.words import _, plural

ASKEW_S = 30.0  # by which two clocks may differ without a word
TOLERANCE_S = 300.0  # by which they may while signatures still hold; the server's own bound
FULL_PERCENT = 100.0


class Care(NamedTuple):
    """Something that works, and that should be known."""

    text: str
    hint: str = ""


Found = str | Care | ClientError


def clocks(relay_date: str, now_s: float) -> Found:
    """How far the relay's clock is from this one."""
    try:
        ahead_s = now_s - email.utils.parsedate_to_datetime(relay_date).timestamp()
    except (ValueError, OverflowError):
        return _("the relay does not say what time it is")
    if abs(ahead_s) < ASKEW_S:
        return _("this clock and the relay's agree")
    if ahead_s > 0:
        text = _("this machine's clock is {span} ahead of the relay's")
    else:
        text = _("this machine's clock is {span} behind the relay's")
    text = text.format(span=duration(abs(ahead_s)))
    hint = _(
        "Set the wrong one right, by NTP. If it is this one, --since and --until mean other times,"
        " and good certificates may not be trusted; if it is the relay's, it refuses signed"
        " webhooks beyond 5 min."
    )
    return Care(text, hint) if abs(ahead_s) < TOLERANCE_S else ClientError(text, hint)


def connections(steady_s: float | None) -> Found:
    """Whether something cuts this client's connections."""
    if steady_s is None:
        return _("nothing cuts them, as far as this client knows")
    return ClientError(*lifetimes.told(steady_s))


def intake(status: Status, channel: str) -> Found | None:
    """Whether the relay takes webhooks of a channel; nothing where it does."""
    if not status.store.taking:
        hint = _("Whoever runs the relay finds why in relay-server status: its disk may be full.")
        return ClientError(_("the relay takes no webhooks now"), hint)
    known = [one for one in status.channels if one.name == channel]
    if known and _is_full(known[0]):
        text = _("the channel {channel} is full: its webhooks are refused")
        hint = _("What waits for its subscriptions fills it: relay-client status shows for whom.")
        return ClientError(text.format(channel=harmless(channel)), hint)
    return None


def _is_full(channel: ChannelStatus) -> bool:
    full = channel.full_percent
    return full is not None and full >= FULL_PERCENT and not channel.drop_oldest


def subscription(
    known: Sequence[SubscriptionStatus], channel: str, name: str, host: str, *, shares: bool
) -> Iterator[Found]:
    """How the subscription is that this client reads."""
    mine = [one for one in known if (one.channel, one.name) == (channel, name)]
    called = _("{name} of {channel}").format(name=harmless(name), channel=harmless(channel))
    if not mine:
        text = _("{name} is new: it begins with its first connection")
        yield text.format(name=called)
        return
    [one] = mine
    if one.paused:
        yield _paused(one, called)
    yield from _held(one, called, host, shares=shares)
    if one.retrying:
        yield Care(_retrying(one, called), _("relay-client events shows what your app answered."))
    if one.dead:
        text = plural(
            "{number} delivery of {name} is dead",
            "{number} deliveries of {name} are dead",
            one.dead,
        )
        hint = _("To get them once more: relay-client replay --dead")
        yield Care(text.format(name=called), hint)


def _paused(one: SubscriptionStatus, called: str) -> ClientError:
    command = ["relay-client", "resume", "--channel", one.channel, "--as", one.name]
    why = pause_of(one.paused, one.paused_by, one.paused_at)
    text = _("{name} is paused: {reason}").format(name=called, reason=why)
    hint = _("Nothing is delivered until somebody resumes it: {command}")
    return ClientError(text, hint.format(command=harmless(shlex.join(command))))


def _held(one: SubscriptionStatus, called: str, host: str, *, shares: bool) -> Iterator[Found]:
    """Who reads it now, and what waits."""
    waits = plural("{number} webhook waits", "{number} webhooks wait", one.backlog)
    others = [other for other in one.hosts if other != host]
    if one.forward:
        text = _("{name} is a forward: the server itself reads it")
        yield ClientError(text.format(name=called), _("Give a name of your own: --as NAME"))
    elif others and not shares:
        text = _("another client holds {name}: it is connected from {host}")
        hint = _(
            "It gets the webhooks. Give this one a name of its own (--as NAME), or share: give"
            " --share to both."
        )
        where = harmless(", ".join(others), 200)
        yield ClientError(text.format(name=called, host=where), hint)
    elif one.connected and one.target_down:
        text = _("{name} is connected, and its target is down: {waits}")
        yield Care(text.format(name=called, waits=waits), _("Start your app."))
    elif one.connected:
        yield _("{name} is connected; {waits}").format(name=called, waits=waits)
    else:
        yield _("{name} is away; {waits}").format(name=called, waits=waits)


def _retrying(one: SubscriptionStatus, called: str) -> str:
    waits = plural(
        "{number} webhook of {name} failed and waits for its next attempt",
        "{number} webhooks of {name} failed and wait for their next attempt",
        one.retrying,
    ).format(name=called)
    if one.next_attempt_at is None:
        return waits
    clock = when(one.next_attempt_at, zoned=True)
    return _("{waits}, the first at {clock}").format(waits=waits, clock=clock)
