"""Channels, people and their tokens, invitations, forwards, sessions, and the server itself."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from aiohttp import web

from relay_protocol.errors import RelayError
from relay_server.configs import SenderKind
from relay_server.dashboard.rendering import render, span
from relay_server.dashboard.sure import Question, ask
from relay_server.dashboard.visit import Fields, Visitor, form, page, see
from relay_server.errors import InvalidValue
from relay_server.operations import Caller
from relay_server.operations.audit import AuditPage, list_audit
from relay_server.operations.channels import (
    ChannelFields,
    NewToken,
    TokenView,
    create_channel,
    create_token,
    list_channels,
    list_tokens,
    revoke_token,
)
from relay_server.operations.clients import Client, clients_of
from relay_server.operations.forwards import list_forwards
from relay_server.operations.invitations import (
    NewInvitation,
    create_invitation,
    list_invitations,
    revoke_invitation,
)
from relay_server.operations.proofs import NewSecret, add_secret, remove_secret, secrets_of
from relay_server.operations.server import status as status_of
from relay_server.operations.sessions import end_session, list_sessions, session_id
from relay_server.operations.subscriptions import subscriptions_of
from relay_server.operations.trial import STEPS, try_channel
from relay_server.values import Scope
from relay_terminal.retold import told
from relay_terminal.words import _, plural

NOTED = 8  # of the newest entries of the audit log, on the page


class Wrong(NamedTuple):
    """Why a form was not done.

    Attributes:
        what: Which form, by its path's last part.
        text: Why.
        fields: That were given.
    """

    what: str
    text: str
    fields: Fields


class TokenLine(NamedTuple):
    """A token, and what ends with it.

    Attributes:
        connected: Clients of this server that came with it.
        browsers: How many are logged in with it.
        used_at: When it was shown last; None for not as far as is known.
    """

    of: TokenView
    connected: list[Client]
    browsers: int
    used_at: int | None


async def setup(request: web.Request, visitor: Visitor) -> web.Response:
    """`GET /setup`."""
    return await _shown(request, visitor)


async def make_channel(request: web.Request, visitor: Visitor, fields: Fields) -> web.Response:
    """`POST /setup/channels`: make one; its page says what to do with it."""
    if fields.get("sender") not in set(SenderKind):
        raise InvalidValue(_("nobody is known who sends so"))
    new = ChannelFields(name=fields.get("name", ""), sender=SenderKind(fields["sender"]))
    try:
        made = await create_channel(visitor.who, new)
    except RelayError as exc:
        return await _wrong(request, visitor, "channels", fields, exc)
    return see(f"/channels/{made.name}")


async def try_it(request: web.Request, visitor: Visitor, _fields: Fields) -> web.Response:
    """`POST /setup/channels/{channel}/test`: a webhook of the server's own goes its way."""
    name = request.match_info["channel"]
    tried = await try_channel(visitor.who, name)
    readers = await subscriptions_of(visitor.who, name)
    return await _shown(request, visitor, tried=tried, readers=readers)


async def change_secrets(request: web.Request, visitor: Visitor, fields: Fields) -> web.Response:
    """`POST /setup/channels/{channel}/secrets`: one more, shown this once, or one less."""
    name = request.match_info["channel"]
    if fields.get("do") == "add":
        given = fields.get("secret", "").strip()
        try:
            added = await add_secret(visitor.who, name, NewSecret(given))
        except RelayError as exc:
            return await _wrong(request, visitor, "secrets", fields, exc)
        return see("/setup") if given else await _shown(request, visitor, secret=added)
    id_ = fields.get("id", "")
    if "sure" in fields:
        await remove_secret(visitor.who, name, id_)
        return see("/setup")
    question = Question(
        _("Take away this secret?"),
        [name, id_],
        _("What is signed with it is refused from then on."),
        action=f"/setup/channels/{name}/secrets",
        fields={"id": id_},
        do="remove",
        button=_("Take away"),
        keep=_("Keep it"),
        back="/setup",
        things=sum(one.id == id_ for one in secrets_of(visitor.who, name)),
    )
    return ask(request, visitor, question, fields)


async def make_token(request: web.Request, visitor: Visitor, fields: Fields) -> web.Response:
    """`POST /setup/tokens`: make one; its secret is shown this once."""
    if fields.get("scope") not in set(Scope):
        raise InvalidValue(_("a token's scope is one of {scopes}").format(scopes=", ".join(Scope)))
    channel = fields.get("channel", "")
    new = NewToken(fields.get("name", ""), [Scope(fields["scope"])], [channel] if channel else None)
    try:
        made = await create_token(visitor.who, new)
    except RelayError as exc:
        return await _wrong(request, visitor, "tokens", fields, exc)
    return await _shown(request, visitor, token=made)


async def invite(request: web.Request, visitor: Visitor, fields: Fields) -> web.Response:
    """`POST /setup/invitations`: make one; its line to send is shown this once."""
    new = NewInvitation(fields.get("name", ""), [fields.get("channel", "")])
    try:
        made = await create_invitation(visitor.who, new)
    except RelayError as exc:
        return await _wrong(request, visitor, "invitations", fields, exc)
    return await _shown(request, visitor, invitation=made)


async def end(request: web.Request, visitor: Visitor, fields: Fields) -> web.Response:
    """`POST /setup/{what}/{name}/end`: revoke a token or an invitation, or log a browser out.

    A token once it was said what its end cuts.
    """
    who, name = visitor.who, request.match_info["name"]
    match request.match_info["what"]:
        case "tokens" if "sure" not in fields:
            return await _ask_revoke(request, visitor, name, fields)
        case "tokens":
            await revoke_token(who, name)
        case "invitations":
            await revoke_invitation(who, name)
        case _:
            await end_session(who, name)
    return see("/setup")


async def _ask_revoke(
    request: web.Request, visitor: Visitor, name: str, fields: Fields
) -> web.Response:
    found = [line for line in await _tokens(visitor.who) if line.of.name == name]
    cut = [
        _("{name} is connected with it, and reads {channel}").format(
            name=f"{client.subscription}@{client.host}", channel=client.channel
        )
        for line in found
        for client in line.connected
    ]
    cut += [
        plural(
            "{number} browser is logged in with it",
            "{number} browsers are logged in with it",
            line.browsers,
        )
        for line in found
        if line.browsers
    ]
    cut += [
        _("it was used last {time} ago").format(time=span(visitor.who.now() - line.used_at))
        for line in found
        if line.used_at is not None and not line.connected
    ]
    question = Question(
        _("Revoke the token {name}?").format(name=name),
        cut or [_("Nobody used it, as far as is known.")],
        _("What uses it is cut within a second, and what is sent with it is refused."),
        action=f"/setup/tokens/{quote(name)}/end",
        fields={},
        do="revoke",
        button=_("Revoke"),
        keep=_("Keep it"),
        back="/setup",
        things=len(found),
    )
    return ask(request, visitor, question, fields)


async def _wrong(
    request: web.Request, visitor: Visitor, what: str, fields: Fields, error: RelayError
) -> web.Response:
    """The page once more, with what is wrong beside its form, and in that what was given."""
    wrong = Wrong(what, told(error)[0], fields)
    return await _shown(request, visitor, status=error.status_hint, wrong=wrong)


async def _shown(
    request: web.Request, visitor: Visitor, status: int = 200, **made: object
) -> web.Response:
    who = visitor.who
    values: dict[str, Any] = dict.fromkeys(
        ("token", "invitation", "wrong", "tried", "secret", "readers")
    )
    values |= made
    sessions = (await list_sessions(who)).sessions
    server = await status_of(who)
    if who.admin:
        values["tokens"] = await _tokens(who)
        values["secrets"] = {c.name: secrets_of(who, c.name) for c in who.channels()}
        values["senders"] = [str(kind) for kind in SenderKind]
        values["noted"] = (await list_audit(who, AuditPage(limit=NOTED))).entries
        values["invitations"] = (await list_invitations(who)).invitations
        values["forwards"] = (await list_forwards(who)).forwards
    return render(
        request,
        "setup.html",
        status=status,
        visitor=visitor,
        url=urlsplit(who.parts.settings.url),
        channels=(await list_channels(who)).channels,
        sessions=sessions,
        this_session=session_id(visitor.session.digest),
        server=server,
        steps=STEPS,
        scopes=[str(scope) for scope in Scope],
        **values,
    )


async def _tokens(who: Caller) -> list[TokenLine]:
    await who.parts.uses.learn()
    sessions, clients = (await list_sessions(who)).sessions, clients_of(who)
    lines = []
    for token in (await list_tokens(who)).tokens:
        used = [session.used_at for session in sessions if session.token == token.name]
        shown_at = who.parts.uses.tokens.get(token.name)
        times = used if shown_at is None else [*used, shown_at]
        connected = [client for client in clients if client.token == token.name]
        lines.append(TokenLine(token, connected, len(used), max(times, default=None)))
    return lines


routes = [
    web.get("/setup", page(setup)),
    web.post("/setup/channels", form(make_channel)),
    web.post("/setup/channels/{channel}/test", form(try_it)),
    web.post("/setup/channels/{channel}/secrets", form(change_secrets)),
    web.post("/setup/tokens", form(make_token)),
    web.post("/setup/invitations", form(invite)),
    web.post("/setup/{what:tokens|invitations|sessions}/{name}/end", form(end)),
]
