"""One event: what it is, what became of it, and sending it again, as it came or edited."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlencode

from aiohttp import web
from msgspec.structs import replace

from relay_server.bodies.hidden import body_without_secrets
from relay_server.bodies.scripts import Language
from relay_server.bodies.talk import ANSWERING, NEW_MESSAGE
from relay_server.dashboard.answers import OPEN_DEPTH, branches, said_of
from relay_server.dashboard.editing import is_editable
from relay_server.dashboard.events import number
from relay_server.dashboard.rendering import own_first, render
from relay_server.dashboard.sure import Question, ask
from relay_server.dashboard.timeline import time_line, what_follows
from relay_server.dashboard.visit import Fields, Visitor, form, page, see
from relay_server.errors import InvalidValue
from relay_server.filters.facts import Direction
from relay_server.operations import Caller
from relay_server.operations.attempts import AttemptsPage, compare_attempts
from relay_server.operations.bodies import (
    ComparePage,
    Tree,
    TreePage,
    body_to_keep,
    compare,
    readable_body,
    show_body,
    show_secret,
    show_tree,
)
from relay_server.operations.dead import can_be_given_up
from relay_server.operations.events import EventRow, EventView, show_event
from relay_server.operations.listing import EventQuery, list_events
from relay_server.operations.pins import NewPin, pin_event, unpin_event
from relay_server.operations.proofs import signed_by
from relay_server.operations.replays import Chosen, NewReplay, create_replays
from relay_server.operations.scripts import ScriptPage, show_script
from relay_server.operations.subscriptions import subscriptions_of
from relay_server.web.api import from_query
from relay_terminal.words import _

SHOWN_RAW = 65_536  # bytes of a body that are shown at once; all of it is a download
HEX_SHOWN = 4_096  # of one that is no text
VIEWS = ("tree", "raw", "headers")
MAX_UNASKED_BYTES = 262_144  # of a body whose tree is shown though nobody asked for it
BESIDE_BEFORE, BESIDE_BEHIND = 2, 12  # events of its conversation that are read, for its reply, too
PREVIOUS, NEXT = "previous", "next"  # in the place of an id: those beside it of the same kind


class RawPage(NamedTuple):
    """A part of a body as it is written.

    Attributes:
        before: Where the part before begins; None at the beginning.
        next: Where the next one does; None at the end.
        size: Bytes of the whole body.
    """

    text: str
    before: int | None
    next: int | None
    size: int


async def show(request: web.Request, visitor: Visitor) -> web.Response:
    """`GET /events/{id}`: one event, its deliveries and its body; `…/show`: the same, masked."""
    return await _page(request, visitor, {})


async def reveal(request: web.Request, visitor: Visitor, fields: Fields) -> web.Response:
    """`POST /events/{id}/show`: the same with one secret of its body, which is noted."""
    path = fields.get("path", "")
    value = await show_secret(visitor.who, request.match_info["id"], path)
    return await _page(request, visitor, {path: value})


async def _page(request: web.Request, visitor: Visitor, secrets: dict[str, str]) -> web.Response:
    who, asked = visitor.who, request.query
    found, view = await show_event(who, request.match_info["id"]), asked.get("view", "")
    is_asked = view == "tree" or found.size <= MAX_UNASKED_BYTES
    page_of = TreePage(first=number(asked.get("first", "")))
    levels = number(asked.get("open", "")) or OPEN_DEPTH
    tree = await show_tree(who, found.id, page_of) if is_asked else Tree()
    shows_raw = found.kept and (view == "raw" or bool(tree.problem))
    raw = await _raw(who, found.id, number(asked.get("at", ""))) if shows_raw else None
    readers, beside = await subscriptions_of(who, found.channel), await _beside(visitor, found)
    reply = reply_among(beside, found.sequence)
    mine = {reader.name for reader in readers if reader.mine}
    line = time_line(
        found.received_at,
        own_first(found.deliveries, mine),
        found.attempts,
        readers,
        who.now(),
        reply.received_at if reply else None,
    )
    return render(
        request,
        "event.html",
        visitor=visitor,
        event=found,
        signed=await signed_by(who, found.id),
        view=view if view in VIEWS else "tree",
        is_asked=is_asked,
        has_secrets=who.admin and await _has_secrets(who, found),
        tree=tree,
        branches=branches(tree.nodes, levels),
        of_tree=urlencode({"view": "tree", "first": page_of.first, "open": levels}),
        raw=raw,
        readers=readers,
        beside=beside,
        reply=reply,
        secrets=secrets,
        line=line,
        what_follows=what_follows,
        said_of=said_of,
        can_be_given_up=can_be_given_up,
        cannot=_why_not_again(found),
        is_editable=is_editable(found),
        languages=[str(language) for language in Language],
        told=asked.get("told", ""),
    )


def _why_not_again(event: EventView) -> str:
    """Why an event cannot be replayed, whoever asks; empty where it can."""
    if not event.kept:
        return _(
            "Its body was not kept once everybody had it: it cannot be sent again, edited, copied"
            " or compared."
        )
    if event.damaged:
        return _("Its stored bytes were changed: it cannot be sent again.")
    if event.edited_from is not None:
        return _("It was edited for one subscription: to send it again, edit it anew.")
    return ""


async def _has_secrets(who: Caller, event: EventView) -> bool:
    """Whether its download leaves something out; of what is large it is not looked at."""
    if not event.kept or event.size > MAX_UNASKED_BYTES:
        return event.kept
    body = (await readable_body(who, event.id)).body
    return await asyncio.to_thread(body_without_secrets, body) != body


async def _raw(who: Caller, id_: str, at: int) -> RawPage:
    """A part of a body whose secrets are masked: in the whole of it, as a part may begin in one."""
    body = (await readable_body(who, id_)).body
    return raw_page(await asyncio.to_thread(body_without_secrets, body), at)


async def _beside(visitor: Visitor, event: EventView) -> list[EventRow]:
    """The event among those of its conversation, oldest first; nothing where it is of none."""
    if not event.key or event.edited_from is not None:
        return []

    of = EventQuery(channel=event.channel, key=event.key)
    found = list[EventRow]()
    for query in (
        replace(of, before=event.sequence, limit=BESIDE_BEFORE),
        replace(of, after=event.sequence - 1, limit=BESIDE_BEHIND),
    ):
        found += (await list_events(visitor.who, query)).events
    return sorted(found, key=lambda one: one.sequence)


def reply_among(events: Sequence[EventRow], sequence: int) -> EventRow | None:
    """The first answer behind a customer's message; None where it is none, or has no answer."""
    own = next((one for one in events if one.sequence == sequence), None)
    if own is None or not (own.facts and own.facts.direction == Direction.CUSTOMER):
        return None
    for one in events:
        facts = one.facts
        is_answer = facts and facts.direction in ANSWERING and not facts.private
        if one.sequence > sequence and one.kind in NEW_MESSAGE and is_answer:
            return one
    return None


async def neighbour(request: web.Request, visitor: Visitor) -> web.Response:
    """`GET /events/{id}/older`, `…/newer`: the next of its channel, or `?of=conversation`."""
    found = await show_event(visitor.who, request.match_info["id"])
    older = request.match_info["which"] == "older"
    query = EventQuery(
        channel=found.channel,
        key=found.key if request.query.get("of") == "conversation" else "",
        limit=1,
        before=found.sequence if older else 0,
        after=None if older else found.sequence,
    )
    beside = await list_events(visitor.who, query)
    return see(f"/events/{beside.events[0].id if beside.events else found.id}")


async def body(request: web.Request, visitor: Visitor) -> web.Response:
    """`GET /events/{id}/body`: the bytes as they came, for a file; secrets are masked in it."""
    found = await body_to_keep(visitor.who, request.match_info["id"])
    return web.Response(body=found.body, headers=found.headers)


async def ask_for_secrets(request: web.Request, visitor: Visitor) -> web.Response:
    """`GET /events/{id}/body/secrets`: asks before a file has them."""
    visitor.who.check_admin()
    found = await show_event(visitor.who, request.match_info["id"])
    question = Question(
        _("Download this body with its secrets?"),
        [found.kind or found.method, found.id],
        _("The audit log says who did. What the channel masks stays masked."),
        action=f"/events/{found.id}/body/secrets",
        fields={},
        do="download",
        button=_("Download"),
        keep=_("Back to the event"),
        back=f"/events/{found.id}",
        things=1,
    )
    return ask(request, visitor, question, {})


async def whole_body(request: web.Request, visitor: Visitor, _fields: Fields) -> web.Response:
    """`POST /events/{id}/body/secrets`: the bytes as they came, which is noted."""
    found = await show_body(visitor.who, request.match_info["id"])
    return web.Response(body=found.body, headers=found.headers)


async def as_script(request: web.Request, visitor: Visitor) -> web.Response:
    """`GET /events/{id}/as/{language}`: what sends it from a shell, to be copied."""
    id_, language = request.match_info["id"], request.match_info["language"]
    script = await show_script(visitor.who, id_, language, ScriptPage())
    return render(request, "script.html", visitor=visitor, script=script)


async def replay(request: web.Request, visitor: Visitor, fields: Fields) -> web.Response:
    """`POST /events/{id}/replay`: send it again, to one subscription."""
    found = await show_event(visitor.who, request.match_info["id"])
    to = fields.get("subscription", "")
    await create_replays(visitor.who, NewReplay(Chosen(events=(found.id,)), found.channel, to))
    return see(f"/events/{found.id}?told=replayed")


async def pin(request: web.Request, visitor: Visitor, fields: Fields) -> web.Response:
    """`POST /events/{id}/pin`: keep it under a name; without one, no longer than others."""
    id_, name = request.match_info["id"], fields.get("name", "").strip()
    if name:
        await pin_event(visitor.who, id_, NewPin(name))
    else:
        await unpin_event(visitor.who, id_)
    return see(f"/events/{id_}")


async def show_difference(request: web.Request, visitor: Visitor) -> web.Response:
    """`GET /compare?a=&b=`: how two events differ; `previous`, `next`: of its kind."""
    who, asked = visitor.who, request.query
    if asked.get("b") == NEXT:
        a = await show_event(who, asked.get("a", ""))
        b = await show_event(who, await _of_its_kind(visitor, a, behind=True))
    else:
        b = await show_event(who, asked.get("b", ""))
        other = asked.get("a", "").strip()
        if other == PREVIOUS:
            other = await _of_its_kind(visitor, b, behind=False)
        a = await show_event(who, other)
    expected = "expected" in asked
    found = await compare(who, ComparePage(a.id, b.id, asked.get("ignore", ""), expected))
    return render(
        request, "compare.html", visitor=visitor, a=a, b=b, found=found, expected=expected
    )


async def show_attempts(request: web.Request, visitor: Visitor) -> web.Response:
    """`GET /events/{id}/attempts?a=&b=`: how two attempts of it differ."""
    event = await show_event(visitor.who, request.match_info["id"])
    found = await compare_attempts(visitor.who, event.id, await from_query(request, AttemptsPage))
    return render(request, "attempts.html", visitor=visitor, event=event, found=found)


async def _of_its_kind(visitor: Visitor, event: EventView, *, behind: bool) -> str:
    """Id of the nearest event of the same kind, before one or behind it."""
    query = EventQuery(channel=event.channel, kind=event.kind, limit=1)
    bounded = replace(
        query, **({"after": event.sequence} if behind else {"before": event.sequence})
    )
    if found := (await list_events(visitor.who, bounded)).events:
        return found[0].id
    before, after = (
        _("no event of its kind came before it"),
        _("no event of its kind came after it"),
    )
    raise InvalidValue(after if behind else before)


def raw_page(content: bytes, at: int) -> RawPage:
    """64 KiB of a body as text; of what is none 4 KiB as a hex dump. A text ends at a character."""
    length = SHOWN_RAW
    start, end = _at_character(content, at), _at_character(content, at + length)
    try:
        text = content[start:end].decode()
    except UnicodeDecodeError:
        length, start, end = HEX_SHOWN, at, min(at + HEX_SHOWN, len(content))
        rows = range(start, end, 16)
        text = "\n".join(_hex(content[row : min(row + 16, end)], row) for row in rows)
    before = max(0, start - length) if start else None
    return RawPage(text, before, end if end < len(content) else None, len(content))


def _at_character(content: bytes, at: int) -> int:
    """Where the character begins that a byte of a text in UTF-8 is of."""
    at = min(at, len(content))
    for _behind in range(3):  # the first of four bytes at most; of what is no text many may go on
        if 0 < at < len(content) and content[at] & 0xC0 == 0x80:
            at -= 1
    return at


def _hex(row: bytes, at: int) -> str:
    text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
    return f"{at:06x}  {row.hex(' '):<47}  {text}"


routes = [
    web.get("/events/{id}", page(show)),
    web.get("/events/{id}/{which:older|newer}", page(neighbour)),
    web.get("/events/{id}/body", page(body)),
    web.get("/events/{id}/body/secrets", page(ask_for_secrets)),
    web.post("/events/{id}/body/secrets", form(whole_body)),
    web.get("/events/{id}/show", page(show)),
    web.post("/events/{id}/show", form(reveal)),
    web.get("/events/{id}/as/{language}", page(as_script)),
    web.post("/events/{id}/replay", form(replay)),
    web.post("/events/{id}/pin", form(pin)),
    web.get("/events/{id}/attempts", page(show_attempts)),
    web.get("/compare", page(show_difference)),
]
