"""Other secrets for what Chatwoot signs with, and an end of all that was set up in it."""

from __future__ import annotations

from relay_chatwoot.resources import Bot, Inbox, Webhook
from relay_server.chatwoot.seen import Seen, ours, with_lost
from relay_server.chatwoot.steps import NAME, Hands, Step
from relay_server.errors import InvalidValue
from relay_server.validity import MAX_SECRETS
from relay_terminal.words import _

ASIDE = "?old=1"  # ends the URL of a webhook that another takes the place of


def removal(seen: Seen, url: str) -> list[Step]:
    """The steps that take everything back but inboxes, whose conversations would go with them."""
    has = ours(seen, url)
    steps = [_deleted_webhook(webhook) for webhook in has.webhooks]
    steps += [_deleted_bot(bot) for bot in has.bots]
    steps += [_silenced_inbox(inbox) for inbox in has.inboxes]

    async def forget(hands: Hands) -> None:
        await hands.set_channel(token=True, hmac_secrets=[], chatwoot_url="")

    text = _("have the channel forget this Chatwoot, and ask its sender for a token again")
    known = seen.channel
    if known.url or known.secrets or not known.token:
        steps.append(Step("channel.forget", text, forget))
    return steps


def _deleted_webhook(webhook: Webhook) -> Step:
    async def delete(hands: Hands) -> None:
        await hands.chatwoot.delete_webhook(webhook.id)

    text = _("delete the account's webhook {id}").format(id=webhook.id)
    return Step("webhook.delete", text, delete)


def _deleted_bot(bot: Bot) -> Step:
    async def delete(hands: Hands) -> None:
        await hands.chatwoot.delete_bot(bot.id)

    text = _("delete the agent bot {id}; its inbox has none then").format(id=bot.id)
    return Step("bot.delete", text, delete)


def _silenced_inbox(inbox: Inbox) -> Step:
    async def silence(hands: Hands) -> None:
        await hands.chatwoot.change_inbox(inbox.id, "")

    text = _("have the inbox {id} post nowhere; it and its conversations stay").format(id=inbox.id)
    return Step("inbox.change", text, silence)


def rotation(seen: Seen, url: str) -> list[Step]:
    """The steps to other secrets; the channel takes the old ones too, until `install` runs again.

    Chatwoot makes a secret and uses it at once, so until the channel knows it, that lets in and
    logs what is signed otherwise.

    Raises:
        InvalidValue: The channel cannot take the old and the new ones together.
    """
    has = ours(seen, url)
    old = has.secrets
    if not old:
        return []
    if 2 * len(old) > MAX_SECRETS:
        text = _("{number} secrets, and as many new ones, are more than the {most} of a channel")
        raise InvalidValue(text.format(number=len(old), most=MAX_SECRETS))

    async def lenient(hands: Hands) -> None:
        await hands.set_channel(hmac_secrets=old, hmac_log_only=True)

    async def strict(hands: Hands) -> None:
        secrets = [*hands.secrets.values(), *old]
        await hands.set_channel(hmac_secrets=secrets, hmac_log_only=False)

    text = _("let in what is signed otherwise, until the new secrets are known")
    steps = [Step("channel.lenient", text, lenient), *_replaced(has.webhooks, url)]
    steps += [_reset_bot(bot) for bot in has.bots]
    steps += [_reset_inbox(inbox) for inbox in has.inboxes]
    text = _("have the channel take the new secrets, and the old ones until install runs again")
    steps.append(Step("channel.signature", with_lost(text, seen.channel, old), strict))
    aside = [one for one in has.webhooks if one.url.endswith(ASIDE)] or has.webhooks[:1]
    return [*steps, *map(_deleted_webhook, aside)]


def _replaced(webhooks: list[Webhook], url: str) -> list[Step]:
    """Chatwoot makes no new secret for an account's webhook: another takes its place.

    Where a run stopped, one was put aside already, and another may be there.
    """
    aside = [one for one in webhooks if one.url.endswith(ASIDE)]
    if aside and len(aside) < len(webhooks):
        return []
    steps = [] if aside else [_put_aside(webhook, url) for webhook in webhooks[:1]]
    return [*steps, *(_another(webhook, url) for webhook in webhooks[:1])]


def _put_aside(webhook: Webhook, url: str) -> Step:
    async def aside(hands: Hands) -> None:
        await hands.chatwoot.change_webhook(webhook.id, url=url + ASIDE)

    text = _("put the account's webhook {id} aside").format(id=webhook.id)
    return Step("webhook.change", text, aside)


def _another(webhook: Webhook, url: str) -> Step:
    async def create(hands: Hands) -> None:
        made = await hands.chatwoot.create_webhook(url, NAME, webhook.subscriptions)
        hands.secrets["webhook"] = made.secret or ""

    return Step("webhook.create", _("make another in its place"), create)


def _reset_bot(bot: Bot) -> Step:
    async def reset(hands: Hands) -> None:
        made = await hands.chatwoot.reset_bot_secret(bot.id)
        hands.secrets[f"bot {bot.id}"] = made.secret or ""

    return Step("bot.reset", _("give the agent bot {id} another secret").format(id=bot.id), reset)


def _reset_inbox(inbox: Inbox) -> Step:
    async def reset(hands: Hands) -> None:
        made = await hands.chatwoot.reset_inbox_secret(inbox.id)
        hands.secrets[f"inbox {inbox.id}"] = made.secret or ""

    return Step("inbox.reset", _("give the inbox {id} another secret").format(id=inbox.id), reset)
