"""What happened, in words: each notice that is told much alike to people, pipes and programs."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, assert_never

from relay_client.notices import (
    Ended,
    Lost,
    Paused,
    Resumed,
    Settled,
    Slept,
    StillAway,
    Stopping,
    Waiting,
    Warned,
)
from relay_http.target import Target
from relay_protocol.messages import Follows, Granted, Verdict
from relay_protocol.text import harmless
from relay_protocol.times import rfc3339
from relay_protocol.values import GONE, Failure, FailureKind, Outcome, Response
from relay_terminal.layout import Colour, duration
from relay_terminal.retold import retold
from relay_terminal.words import _, plural

LINE_CHARS = 1_000  # of what happened, on a screen or in a pipe; more is cut
TARGET_AWAY = (FailureKind.TARGET_DOWN, FailureKind.TARGET_LOST)  # which costs no attempt
_NOTHING_THERE = (404, 405)
_ELSEWHERE = (301, 302, 303, 307, 308)
_PATH_CHARS = 100  # of a path that is shown
YEAR_MS = 31_536_000_000  # nothing is due later
Simple: TypeAlias = (
    Lost | StillAway | Waiting | Resumed | Paused | Slept | Warned | Stopping | Ended
)
Say: TypeAlias = Callable[[str], str]  # a template in a reader's language; `str` for programs


@dataclass(frozen=True, slots=True)
class Told:
    """A notice in the words of each reader.

    Attributes:
        kind: Names it to programs and pipes.
        plain: What a pipe gets behind that.
        pretty: What a person gets; empty for what a person need not know.
        facts: What a program gets; None for what repeats another notice.
    """

    kind: str
    plain: str
    pretty: str = ""
    colour: Colour = Colour.CARE
    facts: Mapping[str, object] | None = field(default_factory=dict)


def told(notice: Simple, url: str) -> Told:
    """How a simple notice is told to all three."""
    facts: Mapping[str, object]
    match notice:
        case Lost(reason, hint, before_first):
            pretty = _away(reason, url, hint) if before_first else ""
            facts = {"reason": reason, "hint": hint}
            return Told("reconnecting", reason, pretty, facts=facts)
        case StillAway(reason, hint):
            return Told("away", reason, _away(reason, url, hint), facts=None)
        case Waiting():
            return _waiting(notice)
        case Resumed(channel, target):
            facts = {"channel": channel, "target": target.url}
            pretty = _("{target} is back.").format(target=target.authority)
            return Told("resumed", f"{channel} {target.url}", pretty, Colour.GOOD, facts)
        case Paused(channel, name, reason):
            facts = {"channel": channel, "subscription": name, "reason": reason}
            plain = f"{column(channel)} {_pause(notice, str)}"
            return Told("paused", plain, _pause(notice, _), facts=facts)
        case Slept(seconds):
            return Told("slept", f"{seconds:.0f} s", facts={"slept_ms": round(seconds * 1_000)})
        case Warned(text):
            pretty = _("Warning: {text}").format(text=text)
            return Told("warning", text, pretty, facts={"text": text})
        case Stopping(number):
            text = plural(
                "Finishing {number} webhook; Ctrl-C again stops at once.",
                "Finishing {number} webhooks; Ctrl-C again stops at once.",
                number,
            )
            pretty, facts = text if number else "", {"under_way": number}
            return Told("stopping", f"under_way={number}", pretty, Colour.DIM, facts)
        case Ended(reason, exit_status):
            # An error is told where the command ends.
            pretty = "" if exit_status else _("Stopped. What comes now waits on the relay.")
            facts = {"reason": reason, "exit_status": exit_status}
            return Told("ended", reason, pretty, Colour.DIM, facts)
        case unexpected:
            assert_never(unexpected)


def _waiting(notice: Waiting) -> Told:
    target, why = notice.target, notice.why
    words = {"target": target.authority, "channel": harmless(notice.channel)}
    pretty = _(
        "{target} is not listening: webhooks of {channel} wait on the relay, nothing is lost."
        " Start your app and they arrive."
    )
    if why:
        reason = retold(why)
        named = reason.startswith(target.authority)  # an address keeps its case
        words["reason"] = reason if named else reason[:1].upper() + reason[1:]
        pretty = _(
            "{reason}: webhooks of {channel} wait on the relay, nothing is lost. They arrive once"
            " that is put right."
        )
    facts = {"channel": notice.channel, "target": target.url, **({"reason": why} if why else {})}
    plain = f"{notice.channel} {target.url} {why}".rstrip()
    return Told("waiting", plain, pretty.format(**words), facts=facts)


def why_and_next(notice: Settled, say: Say = str) -> str:
    """Why an attempt failed, and what the relay makes of it."""
    return f"{_why(notice.outcome, say)}; {_next(notice, say)}"


def advice(notice: Settled, target: Target) -> str:
    """What a person may do about an app that has no webhook at this path; or nothing."""
    outcome, request = notice.outcome, notice.delivery.event.request
    if not isinstance(outcome, Response):
        return ""
    path = target.path or request.request_target.partition("?")[0]
    if outcome.status in _NOTHING_THERE:
        text = _(
            "Your app takes no {method} at {path}. If it takes webhooks at another path:"
            " --to {authority}/PATH"
        )
    elif outcome.status in _ELSEWHERE:
        text = _(
            "Your app points from {path} to another address, and redirects are not followed."
            " Name that address: --to {authority}/PATH"
        )
    else:
        return ""
    words = {"method": request.method, "path": path, "authority": target.authority}
    return text.format(**{name: harmless(word, _PATH_CHARS) for name, word in words.items()})


def next_at(verdict: Verdict | None) -> int | None:
    """When the next attempt is due, in Unix milliseconds by this machine's clock."""
    if verdict is None or verdict.follows is not Follows.AGAIN:
        return None
    return round(time.time() * 1_000) + min(verdict.after_ms, YEAR_MS)


def waiting_lines(granted: Granted) -> list[str]:
    """What waits for a subscription: what came since it was read last, and the rest apart."""
    channel = harmless(granted.channel)
    if granted.created:
        caught = plural(
            "{number} webhook of {channel} to catch up on",
            "{number} webhooks of {channel} to catch up on",
            granted.backlog,
        )
        return [caught.format(channel=channel)] if granted.backlog else []
    lines, came = list[str](), granted.came or 0
    if came:
        text = plural(
            "{number} webhook came while you were away",
            "{number} webhooks came while you were away",
            came,
        )
        lines.append(text + _age(granted.came_oldest_at))
    if (before := granted.backlog - came - granted.retrying) > 0:
        text = plural("{number} webhook waits", "{number} webhooks wait", before)
        if granted.came is not None:
            text += _(" since before")
        lines.append(text + _age(granted.oldest_waiting_at))
    if granted.retrying:
        lines.append(_retrying(granted))
    return lines


def clock(unix_ms: int | None = None) -> str:
    """A local time as people read it on a line: of another day with its date."""
    now = time.localtime()
    when = now if unix_ms is None else time.localtime(unix_ms / 1_000)
    is_today = when[:3] == now[:3]
    return time.strftime("%H:%M:%S" if is_today else "%Y-%m-%d %H:%M:%S", when)


def column(text: str) -> str:
    """One word, so that columns can be told apart."""
    return harmless(text).replace(" ", "_")


def status_of(outcome: Outcome) -> str:
    """The status that the target answered, or what happened instead."""
    return str(outcome.status) if isinstance(outcome, Response) else outcome.kind.value


def _why(outcome: Outcome, say: Say) -> str:
    match outcome:
        case Response(status):
            return say("the target answered {status}").format(status=status)
        case Failure(_kind, text):
            said = text or outcome.kind.value.replace("_", " ")
            return harmless(said if say is str else retold(said))


def _next(notice: Settled, say: Say) -> str:
    """As the relay said; what can be known without, where it did not."""
    delivery, verdict, outcome = notice.delivery, notice.verdict, notice.outcome
    if isinstance(outcome, Failure) and outcome.kind in TARGET_AWAY:
        return say("it comes again once the target is back")
    if verdict is not None and verdict.follows is Follows.AGAIN:
        at = next_at(verdict) or 0
        when = rfc3339(at) if say is str else clock(at)
        return say("the relay tries again at {time}").format(time=when)
    if verdict is not None and verdict.follows is Follows.DEAD:
        number = delivery.attempt
        if number == 1:
            return say("dead after 1 attempt: relay-client replay --dead")
        dead = say("dead after {number} attempts: relay-client replay --dead")
        return dead.format(number=number)
    if verdict is not None:
        return say("the relay pauses the subscription")
    if isinstance(outcome, Failure) and outcome.kind is FailureKind.REFUSED:
        return say("not tried again, the relay lists it as dead")
    if isinstance(outcome, Response) and outcome.status == GONE:
        return say("the relay pauses the subscription")
    return say("the relay tries again, or lists it as dead")


def _pause(notice: Paused, say: Say) -> str:
    """The pause, and the command that ends it."""
    channel, name = harmless(notice.channel), harmless(notice.subscription)
    command = shlex.join(["relay-client", "resume", "--channel", channel, "--as", name])
    text = say(
        "{reason} The relay pauses {name}: webhooks of {channel} wait there. To go on: {command}"
    )
    reason = notice.reason if say is str else retold(notice.reason)
    return text.format(
        reason=_sentence(harmless(reason)), name=name, channel=channel, command=command
    )


def _away(reason: str, url: str, hint: str) -> str:
    text = _("{reason} Trying again until {url} answers. {hint}")
    return text.format(reason=_sentence(retold(reason)), url=url, hint=hint).strip()


def _age(unix_ms: int | None) -> str:
    if unix_ms is None:
        return ""
    ago = duration(max(0.0, time.time() - unix_ms / 1_000))
    return _(", the oldest {time} ago").format(time=ago)


def _retrying(granted: Granted) -> str:
    due_ms = granted.next_attempt_in_ms
    if not due_ms:
        return plural(
            "{number} webhook is tried again now",
            "{number} webhooks are tried again now",
            granted.retrying,
        )
    text = plural(
        "{number} webhook waits for its next attempt, at {time}",
        "{number} webhooks wait for their next attempt, the first at {time}",
        granted.retrying,
    )
    return text.format(time=clock(round(time.time() * 1_000) + min(due_ms, YEAR_MS)))


def _sentence(text: str) -> str:
    """As it begins a line, but for an address, which keeps its case."""
    first = text[:1] if "://" in text.partition(" ")[0] else text[:1].upper()
    return first + text[1:] + ("" if text.endswith(".") else ".")
