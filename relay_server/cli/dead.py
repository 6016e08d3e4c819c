"""`relay-server dead …`: deliveries that were given up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from relay_server.cli.asking import Json, call, confirmed, target_of
from relay_server.cli.options import Channel, Subscription, Yes, shown
from relay_server.cli.replay import begin, show_begun
from relay_server.cli.text import counted, lines, when
from relay_server.errors import NothingSelected

if TYPE_CHECKING:
    from relay_server.control import Api

app = typer.Typer(
    help="Deliveries that were given up: listed, delivered after all, or let go of.",
    no_args_is_help=True,
)

Events = Annotated[list[str] | None, typer.Argument(help="Ids of events, evt_…")]
All = Annotated[bool, typer.Option("--all", help="All there are.")]


def show_dead(result: Json) -> None:
    """Two lines a delivery: what it is, and why it was given up."""
    if not result["dead"]:
        lines("Nothing is dead.")
        return
    for one in result["dead"]:
        what = f"number {one['sequence']}, {one['kind'] or '-'}, order {one['key'] or '-'}"
        tries = counted(one["attempts"], "try", "tries")
        lines(
            f"{one['id']}  {one['subscription']} of {one['channel']}: {what}",
            f"    {when(one['ended_at'])}, after {tries}: {one['reason']}",
        )
    lines("", "relay-server dead replay ID delivers one after all; --all every one.")


def show_discarded(result: Json) -> None:
    """How many."""
    number = counted(result["discarded"], "dead delivery", "dead deliveries")
    lines(f"Let go of {number}.")


@app.command("list")
@shown(show_dead)
def dead_list(
    ctx: typer.Context,
    channel: Annotated[
        str | None, typer.Argument(help="Of which channel; all if left out.")
    ] = None,
    subscription: Subscription = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many.")] = 50,
    after: Annotated[
        int | None,
        typer.Option(help="Only those after this sequence number, of one subscription."),
    ] = None,
) -> Json:
    """List dead deliveries, and why each was given up."""
    query = {"channel": channel, "subscription": subscription, "limit": limit, "after": after}
    return call(ctx, "GET", "dead", query=query)


@app.command("replay")
@shown(show_begun)
def dead_replay(
    ctx: typer.Context,
    events: Events = None,
    all_: All = False,
    channel: Channel = None,
    subscription: Subscription = None,
) -> Json:
    """Deliver dead ones once more, to those for whom they are dead."""
    _check(events, all_=all_)

    async def bodies(api: Api) -> list[Json]:
        if events:
            chosen = {"events": events, "dead": True}
            return [{"channel": channel, "subscription": subscription, "selection": chosen}]
        return await _bodies(api, channel, subscription)

    return begin(ctx, bodies)


@app.command("discard")
@shown(show_discarded)
def dead_discard(
    ctx: typer.Context,
    events: Events = None,
    all_: All = False,
    channel: Channel = None,
    subscription: Subscription = None,
    yes: Yes = False,
) -> Json:
    """Say that dead ones need not be delivered; their events go when retention says so."""
    _check(events, all_=all_)
    what = "every dead delivery" if all_ else f"what is dead of {len(events or ())} events"
    confirmed(f"Let go of {what}?", yes=yes)
    body = {"channel": channel, "subscription": subscription, "events": events or [], "all": all_}
    return call(ctx, "POST", "dead", "discard", body=body)


def _check(events: list[str] | None, *, all_: bool) -> None:
    if bool(events) == all_:
        raise typer.BadParameter("name events, or say --all")


async def _bodies(api: Api, channel: str | None, subscription: str | None) -> list[Json]:
    """A request for each subscription with dead deliveries."""
    if channel is not None:
        await api.call("GET", target_of("channels", channel))  # one that is not there is an error
    bodies: list[Json] = [
        {"channel": s["channel"], "subscription": s["name"], "selection": {"dead": True}}
        for s in (await api.call("GET", "status"))["subscriptions"]
        if s["dead"] and channel in (None, s["channel"]) and subscription in (None, s["name"])
    ]
    if not bodies:
        raise NothingSelected("nothing is dead")
    return bodies
