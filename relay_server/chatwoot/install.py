"""Sets a channel up in a Chatwoot, and takes it back: looks, plans, shows, does.

    look ──▶ Seen ──plan──▶ steps ──(shown, asked)──▶ apply ──▶ look again: no step is left

What is planned is the difference between what is wished and what is seen, so a second run does
nothing, and one after a run that stopped does the rest. What Chatwoot has of ours is known by the
URL it posts to, whatever user and password are in it.

Signed, a webhook needs no token in its URL, where Chatwoot would log it at each failure: the
channel takes the signature instead. Its secret is known to the channel before Chatwoot uses it
wherever there is one to read, so no webhook that was taken before is refused meanwhile. Chatwoot
signs an account's webhooks since 4.12, bots' and API inboxes' since 4.13; older ones get a token.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from relay_protocol.errors import RelayError
from relay_server.chatwoot.errors import ChatwootStopped
from relay_server.chatwoot.seen import (
    SIGNS_ALL,
    SIGNS_WEBHOOKS,
    ChatwootView,
    Json,
    Ours,
    Seen,
    Wish,
    ours,
    with_lost,
)
from relay_server.chatwoot.steps import NAME, Hands, Step
from relay_server.sealing import fingerprint
from relay_terminal.retold import told
from relay_terminal.words import _

EVENTS = (
    *("message_created", "message_updated", "conversation_created", "conversation_updated"),
    "conversation_status_changed",
)


def plan(wish: Wish, seen: Seen) -> list[Step]:
    """The steps from what is seen to what is wished; none where they agree."""
    url = wish.relay_url + seen.channel.webhook_path
    has = ours(seen, url)
    wanted = Ours(
        has.webhooks[:1] if wish.webhook else [],
        has.bots[:1] if wish.bot else [],
        has.inboxes[:1] if wish.api else [],
    )
    signed = seen.version.parts >= (SIGNS_ALL if wish.bot or wish.api else SIGNS_WEBHOOKS)
    made = [*_webhook(wish, wanted, url, signed), *_bot(wish, wanted, url, signed)]
    made += _api_inbox(wish, wanted, url, signed)
    creates = any(step.code.endswith(".create") for step in made)
    # Of all that posts there: what an earlier run set up is let in as before.
    before, after = _let_in(seen.channel, has.secrets, creates) if signed else ([], [])
    if not signed:
        before = _send_token(wish, seen.channel, made)
    # The bot is sent something once it has an inbox, so the channel takes its signature before.
    return [*before, *made, *after, *_inbox(wish, seen, wanted), *_link(wish, seen, wanted)]


def _webhook(wish: Wish, wanted: Ours, url: str, signed: bool) -> list[Step]:
    if not wish.webhook:
        return []
    if not wanted.webhooks:
        events = wish.events or EVENTS

        async def create(hands: Hands) -> None:
            made = await hands.chatwoot.create_webhook(hands.url, NAME, events)
            hands.secrets["webhook"] = made.secret or ""

        text = _("make the account's webhook to {url}, for {events}")
        return [Step("webhook.create", text.format(url=url, events=", ".join(events)), create)]
    [webhook] = wanted.webhooks
    changes: Json = {}
    if signed and webhook.url != url:
        changes["url"] = url
    if wish.events and set(wish.events) != set(webhook.subscriptions):
        changes["subscriptions"] = list(wish.events)

    async def change(hands: Hands) -> None:
        await hands.chatwoot.change_webhook(webhook.id, **changes)

    text = _("change the account's webhook {id}: {what}")
    what = {"url": _("its URL, without the token"), "subscriptions": ", ".join(wish.events)}
    told = "; ".join(what[name] for name in changes)
    step = Step("webhook.change", text.format(id=webhook.id, what=told), change)
    return [step] if changes else []


def _bot(wish: Wish, wanted: Ours, url: str, signed: bool) -> list[Step]:
    if not wish.bot:
        return []
    if not wanted.bots:

        async def create(hands: Hands) -> None:
            hands.bot = await hands.chatwoot.create_bot(hands.url, NAME)
            hands.secrets["bot"] = hands.bot.secret or ""

        text = _("make an agent bot that posts to {url}").format(url=url)
        return [Step("bot.create", text, create)]
    [bot] = wanted.bots

    async def change(hands: Hands) -> None:
        await hands.chatwoot.change_bot(bot.id, outgoing_url=url)

    text = _("change the agent bot {id}: its URL, without the token").format(id=bot.id)
    step = Step("bot.change", text, change)
    return [step] if signed and bot.outgoing_url != url else []


def _inbox(wish: Wish, seen: Seen, wanted: Ours) -> list[Step]:
    if not wish.bot or (wanted.bots and seen.inbox_bot is not None):
        return []

    async def answer(hands: Hands) -> None:
        bot = hands.bot or wanted.bots[0]
        await hands.chatwoot.set_bot(wish.inbox, bot.id)

    name = next(one.name for one in seen.inboxes if one.id == wish.inbox)
    text = _(
        "have the bot answer in the inbox {name} ({id}): NEW CONVERSATIONS THERE BEGIN AS PENDING"
    )
    return [Step("inbox.bot", text.format(name=name, id=wish.inbox), answer)]


def _api_inbox(wish: Wish, wanted: Ours, url: str, signed: bool) -> list[Step]:
    if not wish.api:
        return []
    if not wanted.inboxes:

        async def create(hands: Hands) -> None:
            made = await hands.chatwoot.create_inbox(hands.url, NAME)
            hands.secrets["inbox"] = made.secret or ""

        text = _("make an inbox of an API that posts to {url}").format(url=url)
        return [Step("inbox.create", text, create)]
    [inbox] = wanted.inboxes

    async def change(hands: Hands) -> None:
        await hands.chatwoot.change_inbox(inbox.id, url)

    text = _("change the inbox {id}: its URL, without the token").format(id=inbox.id)
    step = Step("inbox.change", text, change)
    return [step] if signed and inbox.webhook_url != url else []


def _let_in(
    channel: ChatwootView, known: list[str], creates: bool
) -> tuple[list[Step], list[Step]]:
    """Have the channel take signatures: those known before anything changes, all afterwards."""

    def step(before: bool) -> Step:
        async def let_in(hands: Hands) -> None:
            secrets = known if before else [*known, *hands.secrets.values()]
            rules: Json = {"token": False, "hmac_scheme": "chatwoot", "hmac_log_only": False}
            await hands.set_channel(hmac_secrets=list(filter(None, secrets)), **rules)

        return Step("channel.signature", with_lost(text, channel, known), let_in)

    needs, has = {fingerprint(secret.encode()) for secret in known}, set(channel.secrets)
    text = _("have the channel take what Chatwoot signs, and ask for no token in the URL")
    open_to_others = channel.token or channel.log_only
    fits = needs <= has if creates else needs == has
    before = [step(before=True)] if known and (open_to_others or not fits) else []
    return before, [step(before=False)] if creates else []


def _send_token(wish: Wish, channel: ChatwootView, made: Iterable[Step]) -> list[Step]:
    """A token for URLs of what signs nothing, where one is made."""
    if not any(step.code.endswith(".create") for step in made) or not channel.token:
        return []

    async def make(hands: Hands) -> None:
        taken = {one["name"] for one in (await hands.relay.call("GET", "tokens"))["tokens"]}
        # One that is there may be in the URL of something else, and nothing tells it again.
        names = (f"{wish.channel}-unsigned-{number}" for number in itertools.count(1))
        name = next(name for name in names if name not in taken)
        body = {"name": name, "scopes": ["send"], "channels": [wish.channel]}
        token = (await hands.relay.call("POST", "tokens", body))["token"]
        scheme, _slashes, rest = hands.url.partition("://")
        hands.url = f"{scheme}://relay:{token}@{rest}"

    text = _("make a send token for its URL: this Chatwoot signs nothing")
    return [Step("token.create", text, make)]


def _link(wish: Wish, seen: Seen, wanted: Ours) -> list[Step]:
    """Have the channel know its Chatwoot, and keep the bot's token if it is wanted."""
    known, bot = seen.channel, wanted.bots[0] if wanted.bots else None
    same = (known.url, known.account) == (seen.url, seen.account.id)
    if not wish.bot and same and any(one.id == known.bot for one in seen.bots):
        return []  # a bot that was set up before stays
    has = (known.url, known.account, known.inbox, known.bot, known.bot_token)
    token = (bot.access_token or "") if bot and wish.hand_off else ""

    async def link(hands: Hands) -> None:
        made = hands.bot or bot
        secret = (made.access_token or "") if made and wish.hand_off else ""
        await hands.set_channel(
            chatwoot_url=hands.chatwoot.url,
            chatwoot_account=hands.chatwoot.account,
            chatwoot_inbox=wish.inbox if wish.bot else 0,
            chatwoot_bot=made.id if made else 0,
            chatwoot_token=secret,
        )

    text = _("have the channel know this Chatwoot")
    if wish.hand_off:
        text = _("have the channel know this Chatwoot, and keep its bot's access token, sealed")
    elif known.bot_token:
        text = _(
            "have the channel know this Chatwoot, and FORGET ITS BOT'S ACCESS TOKEN, without which"
            " no conversation is handed over; --hand-off keeps it"
        )
    needs = (
        *(seen.url, seen.account.id, wish.inbox if wish.bot else 0, bot.id if bot else 0),
        fingerprint(token.encode()) if token else "",
    )
    making = wish.bot and bot is None
    return [Step("channel.link", text, link)] if making or has != needs else []


async def apply(hands: Hands, steps: Sequence[Step]) -> None:
    """Do the steps in order.

    Raises:
        ChatwootStopped: One failed; it says which, and what was done before.
    """
    for number, step in enumerate(steps):
        try:
            await step.do(hands)
        except RelayError as exc:
            done = "; ".join(one.text for one in steps[:number]) or _("nothing")
            raise ChatwootStopped(step.text, done, told(exc)[0]) from exc
