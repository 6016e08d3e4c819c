"""Letting one delivery die that fails and is tried again, once somebody is sure."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from relay_server.dashboard.sure import Question, ask, is_sure
from relay_server.dashboard.visit import Fields, Visitor, form, local, page, see
from relay_server.operations.dead import GivenUp, can_be_given_up, give_up_delivery
from relay_server.operations.events import EventView, show_event
from relay_terminal.words import _


async def ask_first(request: web.Request, visitor: Visitor) -> web.Response:
    """`GET /events/{id}/give-up?subscription=`: asks; `then` is where to go on."""
    found = await show_event(visitor.who, request.match_info["id"])
    return _asked(request, visitor, found, request.query)


async def give_up(request: web.Request, visitor: Visitor, fields: Fields) -> web.Response:
    """`POST /events/{id}/give-up`: let it die, and go on where somebody came from."""
    found = await show_event(visitor.who, request.match_info["id"])
    if not is_sure(fields, 1):
        return _asked(request, visitor, found, fields)
    name = fields.get("subscription", "")
    await give_up_delivery(visitor.who, found.channel, name, GivenUp(found.id))
    return see(local(fields.get("then") or f"/events/{found.id}?told=given-up"))


def _asked(
    request: web.Request, visitor: Visitor, event: EventView, asked: Mapping[str, str]
) -> web.Response:
    name, then = asked.get("subscription", ""), asked.get("then", "")
    given_up = [d for d in event.deliveries if d.subscription == name and can_be_given_up(d)]
    question = Question(
        _("Give this delivery up?"),
        [event.kind or event.method, event.id, name],
        _(
            "It is tried no more and listed as dead; its conversation goes on without it. It can be"
            " replayed. An attempt that is under way is not called back: if it ends well, the event"
            " is delivered."
        ),
        action=f"/events/{event.id}/give-up",
        fields={"subscription": name, "then": then},
        do="give-up",
        button=_("Give it up"),
        keep=_("Go on trying"),
        back=local(then) if then else f"/events/{event.id}",
        things=len(given_up),
    )
    return ask(request, visitor, question, {})


routes = [
    web.get("/events/{id}/give-up", page(ask_first)),
    web.post("/events/{id}/give-up", form(give_up)),
]
