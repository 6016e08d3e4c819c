"""What is wrong between a Chatwoot and a channel, what it costs, and what to do. Pure.

Findings come in the order of the way, so the first that fails is the cause of those behind it:

    the relay's address ─ what Chatwoot posts there ─ who is let in ─ what the bot gets ─ hand-over
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from relay_server.chatwoot.seen import BOTS_READ, SIGNS_ALL, SIGNS_WEBHOOKS, Ours, Seen, ours
from relay_server.sealing import fingerprint
from relay_terminal.retold import retold
from relay_terminal.states import command_about
from relay_terminal.words import _, plural

ANSWER_S = 5.0  # that Chatwoot waits for an answer to a webhook
SLOW_S = 2.0  # of the relay's answer to a doctor; a later one is told
LOOP_MESSAGES = 3  # of a bot in one conversation within `LOOP_MS`: it may answer itself
LOOP_MS = 10_000  # from the first to the last of them
NEEDED = "message_created"  # the event without which a bot hears of nothing

Json = dict[str, Any]


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at.

    Attributes:
        code: For programs.
        ok: False for what loses webhooks, or keeps a bot from working; None for what only should
            be known.
        text: What was found.
        cost: What follows from it; empty where nothing does.
        remedy: What to do.
    """

    code: str
    ok: bool | None
    text: str
    cost: str = ""
    remedy: str = ""


class Reached(msgspec.Struct, frozen=True):
    """How an address of the relay answered, asked from here.

    Attributes:
        address: IPv4 or IPv6.
        took_s: Until the answer; 0 where there was none.
        failure: Why there was none; empty if it is the relay that answered.
    """

    address: str
    took_s: float = 0.0
    failure: str = ""


def of_way(url: str, reached: Sequence[Reached], unresolved: str = "") -> Iterator[Finding]:
    """Whether the relay's public address leads to it."""
    host = urlsplit(url).hostname or ""
    if unresolved or not reached:
        text = _("the name {host} leads to no address: {why}").format(host=host, why=unresolved)
        yield Finding("dns", False, text, _("Chatwoot finds the relay nowhere."), _set_url())
        return
    for one in reached:
        kind = "AAAA" if ":" in one.address else "A"
        facts = {"host": host, "kind": kind, "address": one.address}
        if one.failure:
            text = _("{host} ({kind} {address}) does not lead to the relay: {why}")
            cost = _("Chatwoot picks an address by chance: a webhook that gets this one is lost.")
            remedy = _("Correct the DNS record, the proxy or the certificate; asked from here.")
            text = text.format(**facts, why=one.failure)
            yield Finding("reachable", False, text, cost, remedy)
        elif one.took_s > SLOW_S:
            text = _("{host} ({kind} {address}) answers after {seconds} s")
            cost = _("Chatwoot waits 5 s, then the webhook is lost.")
            text = text.format(**facts, seconds=f"{one.took_s:.1f}")
            ok = None if one.took_s < ANSWER_S else False
            yield Finding("slow", ok, text, cost, _("See what is busy: relay-server status."))
        else:
            text = _("{host} ({kind} {address}) leads to the relay, within {ms} ms")
            ms = round(1_000 * one.took_s)
            yield Finding("reachable", True, text.format(**facts, ms=ms))


def of_chatwoot(seen: Seen, url: str, chatwoot_addresses: bool = True) -> Iterator[Finding]:
    """What is set up in the Chatwoot, against what the channel takes.

    Args:
        seen: What there is.
        url: The channel's, without a token.
        chatwoot_addresses: Look whether Chatwoot refuses the relay's address for being private.
    """
    has = ours(seen, url)
    yield from _version(seen, has)
    if chatwoot_addresses:
        yield from _private(seen, url)
    yield from _installed(seen, has, url)
    yield from _let_in(seen, has)
    yield from _events(has)
    yield from _bot(seen, has)
    yield from _hand_off(seen, has)


def _set_url() -> str:
    return _("Set the address right: relay-server init --public-url https://relay.example.com")


def _version(seen: Seen, has: Ours) -> Iterator[Finding]:
    needs = SIGNS_ALL if has.bots or has.inboxes else SIGNS_WEBHOOKS
    text = _("Chatwoot {version}").format(version=seen.version.version)
    if seen.version.parts < needs:
        text = _("Chatwoot {version} does not sign all of what it posts here")
        cost = _("A token in the URL is all that keeps others out, and Chatwoot logs that URL.")
        remedy = _(
            "Upgrade Chatwoot: it signs since 4.12, and for bots and API inboxes since 4.13."
        )
        text = text.format(version=seen.version.version)
        yield Finding("version", None, text, cost, remedy)
    else:
        yield Finding("version", True, text)


def _private(seen: Seen, url: str) -> Iterator[Finding]:
    host = urlsplit(url).hostname or ""
    if private := seen.refused_addresses:
        text = _("{host} leads to {address}, which is not public")
        text = text.format(host=host, address=private[0])
        cost = _(
            "Chatwoot refuses such addresses: every webhook is lost, unless it is told otherwise."
        )
        remedy = _("Set SAFE_FETCH_ALLOW_PRIVATE_NETWORK=true for Chatwoot's sidekiq and rails.")
        yield Finding("private", None, text, cost, remedy)
    if "." not in host and ":" not in host:
        text = _("{host} has no dot in it").format(host=host)
        cost = _("Chatwoot's forms refuse such a name, though its API takes it.")
        remedy = _("Give the relay an alias with a dot in Chatwoot's network, e.g. relay.internal.")
        yield Finding("alias", None, text, cost, remedy)


def _installed(seen: Seen, has: Ours, url: str) -> Iterator[Finding]:
    names = [name for name, _url, _secret in _posting(has)]
    if not names:
        text = _("nothing of account {account} posts to {url}")
        text = text.format(account=seen.account.id, url=url)
        cost = _("No webhook comes.")
        remedy = _("Set it up: relay-server chatwoot install")
        yield Finding("installed", False, text, cost, remedy)
        return
    yield Finding("installed", True, _("posted by: {names}").format(names=", ".join(names)))
    if len(names) > 1:
        text = _("{names} post to one channel").format(names=_(" and ").join(names))
        cost = _("One message comes more than once, under different ids: a bot answers it twice.")
        remedy = _(
            "Give each a channel of its own: --channel; or have bots hear of each message once:"
            " relay-server subscription set CHANNEL NAME --once"
        )
        yield Finding("double", None, text, cost, remedy)


def _let_in(seen: Seen, has: Ours) -> Iterator[Finding]:
    channel = seen.channel
    again = _("Have it set right: relay-server chatwoot install")
    for name, to, secret in _posting(has):
        with_token = "@" in urlsplit(to).netloc or "token=" in urlsplit(to).query
        if channel.token and not with_token:
            text = _("the channel asks for a token, and the URL of {name} has none")
            cost = _("Each of its webhooks is answered 401, and lost.")
            yield Finding("token", False, text.format(name=name), cost, again)
        elif with_token:
            text = _("the URL of {name} has a token in it").format(name=name)
            cost = _("Chatwoot writes it into its log whenever a webhook fails.")
            yield Finding("token_in_url", None, text, cost, again)
        if channel.secrets and fingerprint((secret or "").encode()) not in channel.secrets:
            text = _("the channel does not know the secret that {name} signs with")
            cost = _("Each of its webhooks is answered 401, and lost.")
            lets_in = None if channel.log_only else False
            yield Finding("secret", lets_in, text.format(name=name), cost, again)
        elif channel.secrets:
            text = _("the channel knows the secret of {name}").format(name=name)
            yield Finding("secret", True, text)
    if channel.log_only:
        text, cost = _("wrong signatures are only logged"), _("Anybody may post to the channel.")
        yield Finding("log_only", None, text, cost, again)
    known = {fingerprint(secret.encode()) for secret in has.secrets}
    if has.secrets and (old := set(channel.secrets) - known):
        text = plural(
            "the channel takes {number} secret that Chatwoot does not use",
            "the channel takes {number} secrets that Chatwoot does not use",
            len(old),
        )
        yield Finding("old_secrets", None, text, _("Whoever knows one may post."), again)


def _posting(has: Ours) -> Iterator[tuple[str, str, str | None]]:
    """What each is called, the URL it posts to, and its secret."""
    for webhook in has.webhooks:
        yield _("account webhook {id}").format(id=webhook.id), webhook.url, webhook.secret
    for bot in has.bots:
        yield _("agent bot {id}").format(id=bot.id), bot.outgoing_url or "", bot.secret
    for inbox in has.inboxes:
        yield _("API inbox {id}").format(id=inbox.id), inbox.webhook_url or "", inbox.secret


def _events(has: Ours) -> Iterator[Finding]:
    for webhook in has.webhooks:
        if NEEDED in webhook.subscriptions:
            events = ", ".join(webhook.subscriptions)
            yield Finding("events", True, _("subscribed to {events}").format(events=events))
        else:
            text = _("the account webhook {id} does not send {event}")
            text = text.format(id=webhook.id, event=NEEDED)
            remedy = _("Choose its events: relay-server chatwoot install --events …")
            yield Finding("events", False, text, _("A bot hears of no message."), remedy)


def _bot(seen: Seen, has: Ours) -> Iterator[Finding]:
    if not has.bots:
        return
    mine = {one.id for one in has.bots}
    if seen.inbox_bot is None:
        text, cost = _("the agent bot answers in no inbox"), _("It is sent nothing.")
        remedy = _("Name one: relay-server chatwoot install --bot --inbox 4")
        yield Finding("inbox", False, text, cost, remedy)
    elif seen.inbox_bot.id not in mine:
        text = _("another bot answers in the inbox: {name}").format(name=seen.inbox_bot.name)
        remedy = _("Take it off in Chatwoot, then: relay-server chatwoot install --bot --inbox 4")
        yield Finding("inbox", False, text, _("Ours is sent nothing."), remedy)
    else:
        yield Finding("inbox", True, _("the agent bot answers in its inbox"))
    if seen.account.settings.keep_pending_on_bot_failure:
        text = _("the account keeps conversations pending when a bot fails")
        cost = _("Refusing events opens none of them: nobody sees that the bot is away.")
        remedy = _("Hand over instead, or switch keep_pending_on_bot_failure off in the account.")
        yield Finding("keep_pending", None, text, cost, remedy)


def _hand_off(seen: Seen, has: Ours) -> Iterator[Finding]:
    known = seen.channel.bot_token
    if not known:
        return
    tokens = {fingerprint((one.access_token or "").encode()) for one in has.bots}
    if known not in tokens:
        text = _("the access token that the relay keeps is not the agent bot's")
        cost = _("No conversation is handed over while the bot is away.")
        remedy = _("relay-server chatwoot install --bot --hand-off reads it anew.")
        yield Finding("bot_token", False, text, cost, remedy)
    elif seen.version.parts < BOTS_READ:
        text = _("bots of Chatwoot {version} may not read conversations")
        text = text.format(version=seen.version.version)
        cost = _("A conversation that people took over meanwhile is handed over all the same.")
        yield Finding("bot_token", None, text, cost, _("Upgrade Chatwoot to 4.14.2."))
    else:
        yield Finding("bot_token", True, _("the relay may hand conversations over"))


def of_traffic(
    refused: Iterable[Json], written: Iterable[Json], last_ms: int | None
) -> Iterator[Finding]:
    """What lately came of a channel, or was refused: groups of requests, and messages of bots."""
    for group in refused:
        if last_ms is not None and group["last_at"] < last_ms:
            continue
        text = plural(
            "{number} request was refused since the last webhook: {why}",
            "{number} requests were refused since the last webhook: {why}",
            group["count"],
        ).format(why=retold(group["says"] or group["reason"]))
        yield Finding(
            "refused", False, text, _("Chatwoot does not send them again."), retold(group["fix"])
        )
    if last_ms is None:
        text = _("no webhook ever came")
        yield Finding("traffic", None, text, "", _("Write a message in Chatwoot, then look again."))
    for key in sorted(_loops(written)):
        text = _("the bot wrote {count} times within {seconds} s in conversation {key}")
        text = text.format(count=LOOP_MESSAGES, seconds=LOOP_MS // 1_000, key=key)
        cost = _("It may answer its own messages: they come back as webhooks.")
        remedy = _("Have it answer message_type incoming alone, or filter: from:customer")
        yield Finding("loop", None, text, cost, remedy)


def of_readers(subscriptions: Iterable[Json]) -> Iterator[Finding]:
    """What is known of those who read a channel, as the status has them."""
    for one in subscriptions:
        if one["paused"]:
            why = retold(one["paused"])
            text = _("{name} is paused: {reason}").format(name=one["name"], reason=why)
            cost = _("What comes waits for it.")
            remedy = _("Mend its bot, then: {command}").format(command=command_about(one, "resume"))
            yield Finding("paused", None, text, cost, remedy)
        if one["told_twice"]:
            text = _("{name} gets messages more than once, such as {events}")
            text = text.format(name=one["name"], events=_(" and ").join(one["told_twice"]))
            cost = _("Its bot answers a customer as often.")
            command = f"{command_about(one, 'set')} --once"
            remedy = _("Have it hear of each once: {command}").format(command=command)
            yield Finding("twice", None, text, cost, remedy)


def _loops(written: Iterable[Json]) -> set[str]:
    """Conversations in which so many messages of a bot came so fast."""
    times = defaultdict[str, list[int]](list)
    for event in written:
        times[event["key"]].append(event["received_at"])
    return {key for key, found in times.items() if _are_close(sorted(found))}


def _are_close(times: list[int]) -> bool:
    last = LOOP_MESSAGES - 1
    return any(end - begin <= LOOP_MS for begin, end in zip(times, times[last:], strict=False))
