"""Webhooks of a kind that have other fields than before."""

from __future__ import annotations

import msgspec

from relay_server.bodies.shape import Turned
from relay_server.drift import Drift
from relay_server.errors import DriftNotFound
from relay_server.operations import Caller, ForAdmins
from relay_server.operations.audit import audited
from relay_server.operations.replays import is_number


class DriftView(msgspec.Struct, frozen=True):
    """A change of the fields of a kind's webhooks, such as after an upgrade of their sender.

    Attributes:
        at: When it was noticed.
        before: Id of an event of the former shape; it may not be kept any more.
        after: Id of one of the new shape.
        came: Fields that are there since, such as `meta.team.icon`; `[]` is any of a list.
        went: Fields that are not there any more.
        turned: Fields that are of another type.
    """

    number: int
    channel: str
    kind: str
    at: int
    before: str
    after: str
    came: list[str]
    went: list[str]
    turned: list[Turned]


class Drifts(msgspec.Struct, frozen=True):
    """Those of channels that the caller may read, newest first."""

    drifts: list[DriftView]


async def list_drifts(who: Caller) -> Drifts:
    """What changed of the fields of webhooks, and was not dismissed."""
    return Drifts(views(who))


def views(who: Caller) -> list[DriftView]:
    """The same, for whoever shows it among other things."""
    names = {channel.number: channel.name for channel in who.channels()}
    return [_view(d, names[d.channel]) for d in who.parts.drifts.all() if d.channel in names]


@ForAdmins
@audited("drift.dismiss")
async def dismiss_drift(who: Caller, number: str) -> DriftView:
    """Forget a change that somebody has seen to."""
    found = {str(view.number): view for view in views(who)}
    if not is_number(number) or number not in found:
        raise DriftNotFound(number)
    who.parts.drifts.dismiss(int(number))
    return found[number]


def _view(drift: Drift, channel: str) -> DriftView:
    fields = msgspec.structs.asdict(drift)
    return DriftView(**(fields | {"channel": channel}))
