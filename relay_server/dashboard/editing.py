"""Changing an event and sending it to one subscription: the form, and what was tried before."""

from __future__ import annotations

import asyncio
import base64
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiohttp import web

from relay_protocol.errors import RelayError
from relay_protocol.limits import MAX_HEAD_FIELDS
from relay_server.bodies.hidden import body_without_secrets, hidden_as
from relay_server.bodies.places import LONG, put, quick_fields
from relay_server.bodies.tree import MASK, BadJson, parse
from relay_server.dashboard.events import number
from relay_server.dashboard.rendering import render
from relay_server.dashboard.visit import Fields, Visitor, explain, form, page, see
from relay_server.errors import Forbidden, InvalidValue
from relay_server.operations.edited import (
    EditedEvent,
    EditedPage,
    NewEdit,
    create_edited,
    list_edited,
)
from relay_server.operations.events import EventView, show_event
from relay_server.operations.proofs import secrets_of
from relay_server.operations.subscriptions import SubscriptionView, subscriptions_of
from relay_server.web.capture import DELIVERY_ID_FIELDS, OURS
from relay_terminal.retold import told
from relay_terminal.words import _

MAX_EDITED_FIELDS = 2 * MAX_HEAD_FIELDS + 32  # of a form that edits: a name and a value each
MAX_EDITED_HERE = 262_144  # bytes of a body that a page edits; a larger one goes by the API
MAX_TRIES = 10  # of an event that its page offers to go back to
TRIES_LOOKED_AT = 200  # edited events of a channel, the newest, among which those are
RELAYS_OWN = OURS.decode()  # what headers begin with that it says, and nobody else may
BLANKS = " \t"  # around a header's name and value
DELIVERY_IDS = frozenset(name.decode() for name in DELIVERY_ID_FIELDS)


@dataclass(frozen=True, slots=True)
class Draft:
    """A request that is being edited, as a form holds it.

    Attributes:
        sign_with: Id of the secret to sign it with; empty for none.
    """

    method: str
    request_target: str
    headers: Sequence[tuple[str, str]]
    body: str
    subscription: str = ""
    sign_with: str = ""
    new_id: bool = False

    @property
    def has_delivery_id(self) -> bool:
        """Whether its sender gave it an id, by which targets know what they had."""
        return any(name.lower() in DELIVERY_IDS for name, _value in self.headers)

    @property
    def problem(self) -> BadJson | None:
        """Where its body stops being JSON; None where it is some."""
        try:
            parse(self.body.encode("utf-8", "surrogatepass"))
        except BadJson as exc:
            return exc
        return None


async def edit(request: web.Request, visitor: Visitor) -> web.Response:
    """`GET /events/{id}/edit`: the request, to be changed; `?try=` is one that was made of it."""
    found = await show_event(visitor.who, request.match_info["id"])
    if not is_editable(found):
        text = _(
            "its body is no text, or too large to be edited on a page:"
            " POST /api/v1/events takes any"
        )
        return explain(request, InvalidValue(text))
    tried = found
    if id_ := request.query.get("try"):
        tried = await show_event(visitor.who, id_)
        if tried.edited_from != found.id or not is_editable(tried):
            raise InvalidValue(_("this was not made of the event, or cannot be edited on a page"))
    headers = [(n, v) for n, v in tried.headers if not n.lower().startswith(RELAYS_OWN)]
    body = await asyncio.to_thread(_shown_body, visitor, tried, found)
    draft = Draft(tried.method, tried.request_target, headers, body)
    return await _shown(request, visitor, found, draft)


async def send_edited(request: web.Request, visitor: Visitor, fields: Fields) -> web.Response:
    """`POST /events/{id}/edit`: store what was edited, for one subscription alone.

    With `do=apply` nothing is sent: the quick fields are written into the body, which is shown.
    """
    who, was = visitor.who, await show_event(visitor.who, request.match_info["id"])
    draft = await asyncio.to_thread(_draft, fields)
    shown = await asyncio.to_thread(_shown_body, visitor, was, was)
    if fields.get("do") == "apply":
        return await _shown(request, visitor, was, draft)
    try:
        await _check_sure(visitor, was, draft, fields)
        made = await create_edited(
            who,
            NewEdit(
                subscription=draft.subscription,
                based_on=was.id,
                method=draft.method or None,
                request_target=draft.request_target or None,
                headers=_sent_headers(draft, was.headers),
                body_base64=_sent_body(draft.body, shown),
                sign_with=draft.sign_with,
            ),
        )
    except RelayError as exc:
        return await _shown(request, visitor, was, draft, exc)
    return see(f"/events/{made.id}?told=edited")


async def _shown(
    request: web.Request,
    visitor: Visitor,
    event: EventView,
    draft: Draft,
    error: RelayError | None = None,
) -> web.Response:
    """The form, and above it what was wrong with what it brought."""
    await visitor.who.parts.uses.learn()
    readers = _choices(visitor, await subscriptions_of(visitor.who, event.channel))
    return render(
        request,
        "edit.html",
        status=(error.status_hint or 500) if error else 200,
        visitor=visitor,
        event=event,
        draft=draft,
        quick=await asyncio.to_thread(quick_fields, draft.body),
        error=" ".join(filter(None, told(error))) if error else "",
        readers=readers,
        chosen=draft.subscription or _likeliest(visitor, readers),
        secrets=secrets_of(visitor.who, event.channel),
        tries=await _tries(visitor, event),
    )


def _choices(visitor: Visitor, readers: Sequence[SubscriptionView]) -> list[SubscriptionView]:
    """Who may get it: the visitor first, then colleagues, then forwards, for administrators."""
    may = [one for one in readers if visitor.who.admin or not one.forward]
    return sorted(may, key=lambda one: (bool(one.forward), one.name != visitor.who.name))


def _likeliest(visitor: Visitor, readers: Sequence[SubscriptionView]) -> str:
    """The visitor, or who alone may get it, unless that is a forward; empty for nobody."""
    names = [one.name for one in readers if not one.forward]
    is_clear = names[:1] == [visitor.who.name] or len(names) == 1
    return names[0] if is_clear else ""


def _shown_body(visitor: Visitor, tried: EventView, event: EventView) -> str:
    """A body as it is edited: its secrets masked, but for those that the visitor wrote."""
    body, was = (base64.b64decode(one.body_base64) for one in (tried, event))
    is_own = tried.id != event.id and tried.made_by == visitor.who.name
    return (hidden_as(body, was) if is_own else body_without_secrets(body)).decode()


async def _tries(visitor: Visitor, event: EventView) -> list[EditedEvent]:
    """What the visitor made of an event before, the newest first."""
    made = await list_edited(visitor.who, EditedPage(event.channel, limit=TRIES_LOOKED_AT))
    mine = (event.id, visitor.who.name)
    return [one for one in made.edited if (one.edited_from, one.made_by) == mine][:MAX_TRIES]


async def _check_sure(visitor: Visitor, event: EventView, draft: Draft, fields: Fields) -> None:
    """Raise `Forbidden` for a forward whose name was not typed: it leads out of the laptop."""
    readers, name = await subscriptions_of(visitor.who, event.channel), draft.subscription
    forwards = {one.name for one in readers if one.forward}
    if name in forwards and fields.get(f"sure-{name}", "").strip() != name:
        text = _("{name} is a forward, which may be production: type its name to send there")
        raise Forbidden(text.format(name=draft.subscription))


def is_editable(event: EventView) -> bool:
    """Whether a page can change it: its body is there, and a text that is not too large."""
    return event.body is not None and event.kept and event.size <= MAX_EDITED_HERE


def _draft(fields: Fields) -> Draft:
    """What a form brings, its quick fields written into the body."""
    numbers = sorted(number(name[5:]) for name in fields if name.startswith("name-"))
    rows = [_field(fields, number) for number in numbers]
    return Draft(
        fields.get("method", ""),
        fields.get("request_target", ""),
        [row for row in rows if row[0]],
        _with_quick(fields.get("body", ""), fields),
        fields.get("subscription", ""),
        fields.get("sign_with", ""),
        "new_id" in fields,
    )


def _with_quick(body: str, fields: Mapping[str, str]) -> str:
    """A body with what quick fields changed; what they did not stays as it is written there."""
    for quick in quick_fields(body):
        name = f"quick-{quick.name}"
        value, was = fields.get(name, ""), fields.get(f"was-{quick.name}", "")
        known = [_held(quick.name, one) for one in (was, quick.value)]
        if name in fields and _held(quick.name, value) not in known:
            body = put(body, quick.path, _lines(value))
    return body


def _held(name: str, value: str) -> str:
    """A value as its field holds it: of many lines, or with these in one."""
    lines = _lines(value)
    return lines if name == LONG else lines.replace("\n", "")


def _sent_body(text: str, was: str) -> str | None:
    """The body that a form brings, in base64; None where it is as it was.

    A browser sends each line's end as CR LF, whatever it is, and cannot hold NUL.
    """
    lines = _lines(text)
    if lines == _lines(was).replace("\0", "\ufffd"):
        return None
    if "\r\n" in was and "\n" not in was.replace("\r\n", ""):
        lines = lines.replace("\n", "\r\n")
    return base64.b64encode(lines.encode("utf-8", "surrogatepass")).decode()


def _lines(text: str) -> str:
    """The same with a line feed at each line's end."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _sent_headers(draft: Draft, was: Sequence[tuple[str, str]]) -> list[tuple[str, str]] | None:
    """The headers of a draft; None where they are as they were."""
    before = [(n, v.strip(BLANKS)) for n, v in was]
    # What is no text was shown with marks, so an untouched field says that it is as it was.
    kept = [(n, MASK if "\ufffd" in v and (n, v) in before else v) for n, v in draft.headers]
    if draft.new_id:
        new = str(uuid.uuid4())
        kept = [(n, new if n.lower() in DELIVERY_IDS else v) for n, v in kept]
    elif list(draft.headers) == before:
        return None
    return kept


def _field(fields: Fields, number: int) -> tuple[str, str]:
    name, value = fields.get(f"name-{number}", ""), fields.get(f"value-{number}", "")
    return name.strip(BLANKS), value.strip(BLANKS)


routes = [
    web.get("/events/{id}/edit", page(edit)),
    web.post("/events/{id}/edit", form(send_edited, 6 * MAX_EDITED_HERE, MAX_EDITED_FIELDS)),
]
