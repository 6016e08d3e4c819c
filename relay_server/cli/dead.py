"""`relay-server dead …`: deliveries that were given up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from relay_server.cli.asking import Json, call, confirmed, printed, target_of
from relay_server.cli.options import AsJson, Channel, Subscription, Yes
from relay_server.cli.replay import begin
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


@app.command("list")
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
    as_json: AsJson = False,
) -> None:
    """List dead deliveries, and why each was given up."""
    query = {"channel": channel, "subscription": subscription, "limit": limit, "after": after}
    printed(call(ctx, "GET", "dead", query=query), show_dead, as_json=as_json)


@app.command("replay")
def dead_replay(
    ctx: typer.Context,
    events: Events = None,
    all_: All = False,
    channel: Channel = None,
    subscription: Subscription = None,
    as_json: AsJson = False,
) -> None:
    """Deliver dead ones once more, to those for whom they are dead."""
    _check(events, all_=all_)

    async def bodies(api: Api) -> list[Json]:
        if events:
            chosen = {"events": events, "dead": True}
            return [{"channel": channel, "subscription": subscription, "selection": chosen}]
        return await _bodies(api, channel, subscription)

    begin(ctx, bodies, as_json=as_json)


@app.command("discard")
def dead_discard(
    ctx: typer.Context,
    events: Events = None,
    all_: All = False,
    channel: Channel = None,
    subscription: Subscription = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Say that dead ones need not be delivered; their events go when retention says so."""
    _check(events, all_=all_)
    what = "every dead delivery" if all_ else f"what is dead of {len(events or ())} events"
    confirmed(f"Let go of {what}?", yes=yes)
    body = {"channel": channel, "subscription": subscription, "events": events or [], "all": all_}
    printed(call(ctx, "POST", "dead", "discard", body=body), show_discarded, as_json=as_json)


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
