"""Pinned events: examples under a name, which are kept whatever their age."""

from __future__ import annotations

import msgspec

from relay_server.channels import check_subscription_name
from relay_server.errors import PinNotFound
from relay_server.operations import Caller
from relay_server.operations.audit import audited
from relay_server.operations.events import find_any_event
from relay_server.values import Channel, Pin


class NewPin(msgspec.Struct, forbid_unknown_fields=True):
    """What an event is to be kept as; the name is unique within its channel."""

    name: str


class PinPage(msgspec.Struct):
    """Whose pins are listed: a channel's, or those of all that the caller may read."""

    channel: str | None = None


class PinView(msgspec.Struct, frozen=True):
    """A pinned event.

    Attributes:
        name: What it is kept as.
        id: The event's.
        edited: It is an edited event; its sequence is among those of its channel.
        made_by: Who pinned it: name of a token; empty for somebody on the host.
    """

    name: str
    id: str
    channel: str
    sequence: int
    edited: bool
    received_at: int
    kind: str
    key: str
    method: str
    request_target: str
    size: int
    made_by: str
    made_at: int


class PinViews(msgspec.Struct, frozen=True):
    """Pinned events, by channel and name."""

    pins: list[PinView]


@audited("pin.set")
async def pin_event(who: Caller, id_: str, new: NewPin) -> PinView:
    """Keep an event under a name, or give one that is kept another."""
    channel, event = await find_any_event(who, id_)
    name = check_subscription_name(new.name, "pin")
    return _view(channel, await who.store.pin(event, name, who.name, who.now()))


@audited("pin.delete")
async def unpin_event(who: Caller, id_: str) -> None:
    """Keep an event no longer than others."""
    _, event = await find_any_event(who, id_)
    if not await who.store.unpin(event):
        raise PinNotFound(id_)


async def list_pins(who: Caller, page: PinPage) -> PinViews:
    """The pinned events of a channel, or of all that the caller may read."""
    channels = who.channels() if page.channel is None else [who.channel(page.channel)]
    found = [(channel, await who.store.pins(channel.number)) for channel in channels]
    return PinViews([_view(channel, pin) for channel, pins in found for pin in pins])


def _view(channel: Channel, pin: Pin) -> PinView:
    fields = msgspec.structs.asdict(pin)
    event = msgspec.structs.asdict(fields.pop("event"))
    del event["conflict"]
    return PinView(channel=channel.name, **event, **fields)
