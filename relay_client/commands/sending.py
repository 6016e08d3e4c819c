"""`relay-client send`: webhooks as their senders make them."""

from __future__ import annotations

import base64
import sys
import time
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay_client.commands.meant import channel_of, event_of, name_of, names_event
from relay_client.errors import (
    ClientError,
    RelayProblem,
    TokenRefused,
    UsageError,
)
from relay_client.options import Channel, Given, Name, asking
from relay_protocol.text import harmless
from relay_terminal.layout import pairs
from relay_terminal.retold import retold
from relay_terminal.usage import App
from relay_terminal.words import _

if TYPE_CHECKING:
    pass

app = App()

MAX_FILE_BYTES = 26_214_400  # of a file that is sent: no relay takes more
JUST_NOW_MS = 60_000  # a refusal that is no older is that of what was sent
MASK = "•••"  # what the relay shows instead of a secret
# By these a relay knows what was sent before: each is made anew.
DELIVERY_IDS = frozenset(
    {"x-chatwoot-delivery", "webhook-id", "svix-id", "x-github-delivery", "idempotency-key"}
)
# They belong to the connection, or to a signature that fits no more.
NOT_SENT = frozenset({"host", "content-length", "x-chatwoot-timestamp", "x-chatwoot-signature"})


@dataclass(frozen=True)
class Webhook:
    """What is sent.

    Attributes:
        based_on: Id of the event that it is; empty for none.
        channel: Of that event; None for whichever is meant.
    """

    body: bytes
    headers: list[tuple[str, str]]
    method: str = "POST"
    request_target: str = "/webhook"
    based_on: str = ""
    channel: str | None = None


@app.command()
@asking
async def send(
    given: Given,
    what: Annotated[
        str | None,
        typer.Argument(
            help="A file with a body (- for standard input), an event (evt_…, its end, @PIN or"
            " latest), or a sample of Chatwoot's: its name or kind."
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="PATH=VALUE",
            help="Another value in the JSON, e.g. content=Hello or conversation.id=5. Repeatable.",
        ),
    ] = None,
    signed: Annotated[bool, typer.Option("--signed", help="Sign it as Chatwoot does.")] = False,
    to_me: Annotated[
        bool, typer.Option("--to-me", help="To your own subscription alone, without a send token.")
    ] = False,
    show_list: Annotated[bool, typer.Option("--list", help="Only list the samples.")] = False,
    channel: Channel = None,
    name: Name = None,
    send_token_file: Annotated[
        Path | None, typer.Option(help="File with a token that may send.")
    ] = None,
    webhook_secret_file: Annotated[
        Path | None, typer.Option(help="File with the secret to sign with.")
    ] = None,
) -> None:
    """Send a webhook as its sender would: a file, an event once more, or a sample.

    It prints the event's id, and the cursor from which wait sees it.
    """
    if show_list:
        _list_samples(given)
        return
    if what is None:
        raise UsageError(
            _("nothing says what is to be sent"), _("Name a file, an event or a sample: --list")
        )
    webhook = await _webhook(given, what)
    for change in changes or ():
        webhook = replace(webhook, body=_changed(webhook.body, change))
    where = given.configuration.settings.channel or webhook.channel or await channel_of(given)
    sent = await (_edit if to_me else _post)(given, webhook, where, signed=signed)

    def lines() -> list[tuple[str, str]]:
        return [(key, str(value)) for key, value in sent.items() if value]

    given.show(sent, lambda: pairs(lines()))


def _list_samples(given: Given) -> None:
    from relay_client import samples

    known = samples.kinds()
    rows = [("SAMPLE", _("KIND")), *known.items()]
    given.show({"samples": known}, lambda: given.console.table(rows))


async def _webhook(given: Given, what: str) -> Webhook:
    """What is named: a file, an event, or a sample."""
    from relay_client import samples

    file = Path(what)
    if what == "-" or file.is_file() or file.suffix or len(file.parts) > 1:
        return Webhook(_read(what), samples.headers())
    if names_event(what):
        return await _stored(given, await event_of(given, what))
    sample = samples.named(what)
    return Webhook(samples.read(sample), samples.headers(sample not in samples.UNSIGNED))


def _read(what: str) -> bytes:
    try:
        if what == "-":
            content = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
        else:
            with Path(what).open("rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
    except OSError as exc:
        raise UsageError(
            _("{file} cannot be read: {reason}").format(file=what, reason=exc.strerror or exc)
        ) from exc
    if len(content) > MAX_FILE_BYTES:
        raise UsageError(_("{file} is larger than any relay takes").format(file=what))
    return content


async def _stored(given: Given, id_: str) -> Webhook:
    """An event as its sender would send it now: under a new delivery id, without its secrets."""
    event = (await given.api.event(id_)).read()
    headers = list[tuple[str, str]]()
    for name, value in event.headers:
        lower = name.lower()
        if lower in NOT_SENT or value == MASK or lower.startswith("relay-"):
            continue
        headers.append((name, str(uuid.uuid4()) if lower in DELIVERY_IDS else value))
    target = event.request_target
    body = await given.api.body(id_)
    return Webhook(body, headers, event.method, target, event.id, event.channel)


def _changed(body: bytes, change: str) -> bytes:
    from relay_client.bodies import changed

    path, equals, value = change.partition("=")
    if not (path and equals):
        raise UsageError(
            _("--set {change!r} sets nothing").format(change=change), _("Write PATH=VALUE.")
        )
    try:
        return changed(body, path, value)
    except ValueError as exc:
        raise UsageError(f"--set {change!r}: {exc}") from exc


async def _post(given: Given, webhook: Webhook, channel: str, *, signed: bool) -> dict[str, Any]:
    """Send it to the channel's webhook URL, for all who have subscribed."""
    from relay_client import samples
    from relay_client.api import segment
    from relay_client.feed import cursor_at

    token = await _send_token(given, channel)
    headers = [*webhook.headers]
    if signed:
        secret = given.configuration.settings.webhook_secret
        if secret is None:
            raise UsageError(
                _("there is no secret to sign with"),
                _("Give --webhook-secret-file, or RELAY_CLIENT_WEBHOOK_SECRET: Chatwoot shows it."),
            )
        headers += samples.signature(secret.reveal(), int(time.time()), webhook.body)
    path = f"/c/{segment(channel)}{webhook.request_target}"
    try:
        id_ = await given.api.post_webhook(path, token, webhook.body, headers, webhook.method)
    except TokenRefused as exc:
        raise await _why_refused(given, channel, exc) from exc
    sequence = await _sequence_of(given, id_)
    cursor = None if sequence is None else cursor_at(channel, sequence - 1)
    return {"id": id_, "cursor": cursor, "channel": channel}


async def _send_token(given: Given, channel: str) -> str:
    settings = given.configuration.settings
    if settings.send_token is not None:
        return settings.send_token.reveal()
    me = await given.api.whoami()
    if {"send", "admin"}.isdisjoint(me.scopes):
        raise TokenRefused(
            _("the token {name} may not send to {channel}").format(
                name=harmless(me.name), channel=harmless(channel)
            ),
            _(
                "Give a send token: --send-token-file FILE, or RELAY_CLIENT_SEND_TOKEN. Or send it"
                " to your own subscription alone: --to-me."
            ),
        )
    assert settings.token is not None
    return settings.token.reveal()


async def _why_refused(given: Given, channel: str, exc: TokenRefused) -> ClientError:
    """The refusal with its reason, as far as the relay tells one's own token."""
    from relay_client.answers import RefusedGroups

    text = _("{channel} refuses the webhook (401)").format(channel=harmless(channel))
    try:
        answer = await given.api.ask("GET", "refused", RefusedGroups, channel=channel)
        groups = answer.read().groups
    except ClientError:
        return TokenRefused(text, exc.hint)
    recent = [one for one in groups if one.last_at > time.time() * 1_000 - JUST_NOW_MS]
    if not recent:
        return TokenRefused(text, exc.hint)
    return TokenRefused(
        f"{text}: {harmless(retold(recent[0].says or recent[0].reason))}",
        harmless(retold(recent[0].fix)),
    )


async def _sequence_of(given: Given, id_: str) -> int | None:
    """Where the event stands, if the token may read it."""
    try:
        return (await given.api.event(id_)).read().sequence
    except (RelayProblem, TokenRefused):
        return None


async def _edit(given: Given, webhook: Webhook, channel: str, *, signed: bool) -> dict[str, Any]:
    """Make an event of one's own, for one's subscription alone."""
    from relay_client.answers import EventWhole

    body = {
        "subscription": await name_of(given),
        "based_on": webhook.based_on or None,
        "channel": channel,
        "method": webhook.method,
        "request_target": webhook.request_target,
        "headers": webhook.headers,
        "body_base64": base64.b64encode(webhook.body).decode(),
        "sign": signed,
    }
    event = (await given.api.ask("POST", "events", EventWhole, body)).read()
    return {"id": event.id, "cursor": None, "channel": channel}
