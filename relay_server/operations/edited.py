"""Events made of others, or anew, each for one subscription alone: to try what a target does.

What goes out is a request as its sender could have made it, with `Relay-Edited-From` beside it. It
is not looked at whether its body is what a body should be: targets are tried with those, too.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import msgspec
import uuid_utils
from msgspec.structs import replace

from relay_http.outgoing import EDITED_FROM, RequestRefused, compose
from relay_http.target import Target
from relay_protocol.limits import MAX_HEAD_BYTES, MAX_HEAD_FIELDS
from relay_protocol.values import HOP_BY_HOP, Delivery, EventHead, HeaderList, RequestHead
from relay_server.bodies.hidden import with_secrets
from relay_server.bodies.masking import masked, unmasked
from relay_server.bodies.tree import MASK
from relay_server.channels import identify
from relay_server.errors import BodyTooLarge, InvalidValue, Unauthorized
from relay_server.operations import Caller, page_of
from relay_server.operations.audit import audited
from relay_server.operations.events import (
    DeliveryLine,
    check_kept,
    delivery_line,
    find_any_event,
)
from relay_server.operations.proofs import secret_called
from relay_server.reported import DeliveryState
from relay_server.signing import scheme_named, sign
from relay_server.values import Channel, Edited, NewEdited, NewEvent, Subscription

MAX_KEY_CHARS = 200  # of an `Idempotency-Key`; a longer one: 422
ANYWHERE = Target("localhost", 8000)  # what an event is sent to must not matter
ANEW = RequestHead("POST", "/webhook", ())  # of an event that is made of no other


class NewEdit(msgspec.Struct, forbid_unknown_fields=True):
    """An event to be made of another: what is left out is as there; or of none.

    Attributes:
        subscription: Who gets it, and nobody else.
        based_on: Id of the other event; it may be an edited one itself. Null for none.
        channel: That of the other, which it cannot leave; of none, the default one if left out.
        headers: All of them, in order; the value `•••` is that of the same field there.
        body_base64: What is masked in it, as people are shown it, is as there.
        sign: It is signed anew, with the first of the channel's secrets.
        sign_with: Id of the one of them to sign with instead; it is signed then, too.
    """

    subscription: str
    based_on: str | None = None
    channel: str | None = None
    method: str | None = None
    request_target: str | None = None
    headers: list[tuple[str, str]] | None = None
    body_base64: str | None = None
    sign: bool = False
    sign_with: str = ""


class EditedPage(msgspec.Struct):
    """Which edited events are listed: the newest of a channel, the default one if none is named."""

    channel: str | None = None
    subscription: str | None = None
    before: int = 0  # a sequence among these; 0 for the newest there are
    limit: int = 50


class EditedEvent(msgspec.Struct, frozen=True):
    """An edited event, and what became of it.

    Attributes:
        sequence: Among the edited events of its channel.
        subscription: The only one that it is for; empty once that is gone.
        edited_from: Id of the event that it was made of, which may be gone; empty for none.
        made_by: Name of a token; empty for somebody on the host.
        replay: Number that ends its delivery, with `DELETE /api/v1/replays/{number}`.
        connected: Somebody reads the subscription; it is sent once somebody does.
        paused: Why the subscription gets nothing; empty where it is not paused.
    """

    id: str
    channel: str
    sequence: int
    received_at: int
    kind: str
    key: str
    method: str
    request_target: str
    size: int
    subscription: str
    edited_from: str
    made_by: str
    replay: int
    connected: bool
    paused: str
    deliveries: list[DeliveryLine]


class EditedEvents(msgspec.Struct, frozen=True):
    """Edited events, newest first."""

    edited: list[EditedEvent]


@audited("event.edit")
async def create_edited(who: Caller, new: NewEdit) -> EditedEvent:
    """Store an event that is made of another or of none, and have one subscription get it.

    Raises:
        EventNotFound, SubscriptionNotFound: There is none that the caller may read.
        Forbidden: The server itself reads the subscription.
        TooManyEdited: As many wait as may.
        KeyReused: Something else was asked under this key before.
    """
    if who.idempotency_key and len(who.idempotency_key) > MAX_KEY_CHARS:
        raise InvalidValue(f"an Idempotency-Key has up to {MAX_KEY_CHARS} characters")
    channel, based_on, was, body = await _basis(who, new)
    subscription = await who.subscription(channel.name, new.subscription)
    who.check_reader(subscription)
    if new.body_base64 is not None:
        sent = _decoded(new.body_base64)
        body = await asyncio.to_thread(_meant, sent, body, channel.config.mask)
    edited = NewEdited(
        _made(who, channel, new, based_on, was, body),
        edited_from=based_on,
        made_by=who.name,
        idempotency_key=who.idempotency_key,
        asked=_digest(new),
    )
    [view] = await _views(who, channel, [await who.store.create_edited(subscription, edited)])
    return view


async def list_edited(who: Caller, page: EditedPage) -> EditedEvents:
    """The newest edited events of a channel, or of one subscription of it."""
    channel = who.channel_or_default(page.channel)
    number = None
    if page.subscription is not None:
        number = (await who.subscription(channel.name, page.subscription)).number
    most, before = page_of(page.limit), page.before or None
    found = await who.store.list_edited(channel.number, number, before, most)
    return EditedEvents(await _views(who, channel, found))


async def _views(who: Caller, channel: Channel, found: Sequence[Edited]) -> list[EditedEvent]:
    sequences = [edited.event.sequence for edited in found]
    states = await who.store.deliveries(-channel.number, sequences)
    known = {s.number: s for s in await who.store.subscriptions(channel.name)}
    return [
        _view(who, edited, known.get(edited.subscription), channel, deliveries)
        for edited, deliveries in zip(found, states, strict=True)
    ]


def _view(
    who: Caller,
    edited: Edited,
    subscription: Subscription | None,
    channel: Channel,
    deliveries: Iterable[DeliveryState],
) -> EditedEvent:
    event = msgspec.structs.asdict(edited.event)
    del event["conflict"]
    return EditedEvent(
        **event,
        channel=channel.name,
        subscription=subscription.name if subscription else "",
        edited_from=edited.edited_from,
        made_by=edited.made_by,
        replay=-edited.replay,
        connected=who.parts.hub.readers.state(edited.subscription).readers > 0,
        paused=subscription.config.paused if subscription else "",
        deliveries=list(map(delivery_line, deliveries)),
    )


async def _basis(who: Caller, new: NewEdit) -> tuple[Channel, str, RequestHead, bytes]:
    """What it is made of: its channel, id (empty for none), request and body."""
    if new.based_on is None:
        return who.channel(new.channel or who.parts.settings.default_channel), "", ANEW, b""
    channel, event = await find_any_event(who, new.based_on)
    check_kept(event)
    if new.channel not in (None, channel.name):
        raise InvalidValue(f"{new.based_on} is of {channel.name}, not of {new.channel}")
    return channel, event.head.id, event.head.request, event.body


def _digest(new: NewEdit) -> bytes:
    """Of what is asked, the same as versions have it that do not know every field yet."""
    asked = msgspec.to_builtins(new)
    if not new.sign_with:
        del asked["sign_with"]
    return hashlib.sha256(msgspec.json.encode(asked)).digest()


def _meant(sent: bytes, was: bytes, masks: Sequence[str]) -> bytes:
    """A body that was shown masked and perhaps changed, with all that was masked as it was."""
    return unmasked(with_secrets(sent, masked(was, masks)), was, masks)


def _made(
    who: Caller, channel: Channel, new: NewEdit, based_on: str, was: RequestHead, body: bytes
) -> NewEvent:
    """The event, checked as it will be when it is sent."""
    now = who.now()
    if len(body) > (limit := who.body_limit(channel)):
        raise BodyTooLarge(limit)
    headers = was.headers if new.headers is None else tuple(_unmasked(new.headers, was.headers))
    origin = ((EDITED_FROM, based_on.encode()),) if based_on else ()
    request = RequestHead(
        was.method if new.method is None else new.method,
        was.request_target if new.request_target is None else new.request_target,
        (*_kept(headers, len(body)), *origin),
        was.sender,
        was.scheme,
    )
    id_ = f"evt_{uuid_utils.uuid7()}"
    if new.sign or new.sign_with:
        headers = _signed(who, channel, new.sign_with, request, body, now, id_)
        request = replace(request, headers=headers)
    _check(channel, EventHead(id_, 1, now, "", "", request), body)
    key, kind = identify(channel.config, body, request.headers)
    return NewEvent(id_, now, key, kind, request, body)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise InvalidValue(f"body_base64 is no base64: {exc}") from exc


def _unmasked(given: Iterable[tuple[str, str]], was: HeaderList) -> Iterator[tuple[bytes, bytes]]:
    """Fields as they are sent, those that were shown masked with their values of before."""
    before = defaultdict[bytes, list[bytes]](list)
    for field, value in was:
        before[field.lower()].append(value)
    for text, said in given:
        try:
            name, value = text.encode("latin-1"), said.encode()
        except UnicodeEncodeError as exc:
            raise InvalidValue(f"a header cannot be sent: {exc}") from exc
        known = before[name.lower()]
        own = known.pop(0) if known else value
        yield name, own if said == MASK else value


def _kept(headers: HeaderList, size: int) -> Iterator[tuple[bytes, bytes]]:
    """As of a webhook: no hop-by-hop fields, none of the relay's.

    `Content-Length` says what it is, where it is said.
    """
    for name, value in headers:
        lower = name.lower()
        if not (lower in HOP_BY_HOP or lower.startswith(b"relay-")):
            yield name, b"%d" % size if lower == b"content-length" else value


def _signed(
    who: Caller, channel: Channel, with_: str, request: RequestHead, body: bytes, now: int, id_: str
) -> HeaderList:
    hmac = channel.config.hmac
    if hmac is None:
        raise InvalidValue(f"{channel.name} has no secret to sign with")
    secret = who.parts.sealer.open(secret_called(channel, with_))
    try:
        return sign(scheme_named(hmac.scheme), secret, request, body, now // 1000, id_)
    except Unauthorized as exc:
        raise InvalidValue(f"it cannot be signed: {exc.reason}") from exc


def _check(channel: Channel, head: EventHead, body: bytes) -> None:
    """Raise `InvalidValue` for what no target would be sent."""
    headers = head.request.headers
    size = len(head.request.request_target) + sum(len(n) + len(v) for n, v in headers)
    if len(headers) > MAX_HEAD_FIELDS or size > MAX_HEAD_BYTES:
        raise InvalidValue(f"a head has up to {MAX_HEAD_FIELDS} fields, {MAX_HEAD_BYTES} bytes")
    try:
        compose(Delivery("", 0, channel.name, 1, False, head, body), ANYWHERE)
    except RequestRefused as exc:
        raise InvalidValue(str(exc)) from exc
