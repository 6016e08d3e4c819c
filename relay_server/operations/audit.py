"""The audit log: who changed or saw what.

An operation that it tells of says so by its decorator:

    @audited("token.revoke")
    async def revoke_token(who: Caller, name: str) -> None:

What was done is noted before it is answered, so that no secret is shown of which the log says
nothing. What was refused is not noted: it did nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Concatenate, ParamSpec, TypeVar

import msgspec

from relay_server.bodies.tree import MASK
from relay_server.operations import Caller, ForAdmins, Plan, page_of
from relay_server.people import Noted
from relay_server.settables import Changes

P = ParamSpec("P")
R = TypeVar("R")

# Of what is asked: secrets and payloads.
HIDDEN = frozenset(
    {
        "body_base64",
        "chatwoot_token",
        "code",
        "headers",
        "hmac_secrets",
        "nonce",
        "resign_secret",
        "secret",
    }
)
MAX_SHOWN_CHARS = 200  # of a text that was asked, in the audit log
MAX_SHOWN_VALUES = 20  # of a list that was asked, likewise


def audited(
    action: str,
) -> Callable[
    [Callable[Concatenate[Caller, P], Awaitable[R]]],
    Callable[Concatenate[Caller, P], Coroutine[Any, Any, R]],
]:
    """Have an operation noted: as which action, and with it what it was done to, and what asked."""

    def decorate(
        do: Callable[Concatenate[Caller, P], Awaitable[R]],
    ) -> Callable[Concatenate[Caller, P], Coroutine[Any, Any, R]]:
        async def run(who: Caller, /, *args: P.args, **kwargs: P.kwargs) -> R:
            answer = await do(who, *args, **kwargs)
            if isinstance(answer, Plan):
                return answer
            what, asked = _object(args, answer), _asked(args)
            await who.store.note(Noted(who.now(), who.name, who.address, action, what, asked))
            return answer

        run.action = action  # type: ignore[attr-defined]
        functools.update_wrapper(run, do)
        return run

    return decorate


class AuditPage(msgspec.Struct):
    """Which entries are listed: the newest, or those before a number."""

    before: int = 0
    limit: int = 50


class AuditEntry(msgspec.Struct, frozen=True):
    """Who changed or saw what.

    Attributes:
        made_by: Name of a token; empty for somebody on the host.
        address: Where they were; empty on the host.
        action: Such as `token.revoke`.
        what: It was done to this, such as `chatwoot/ana`.
        asked: What was asked; secrets and payloads are masked, long values cut.
    """

    number: int
    at: int
    made_by: str
    address: str
    action: str
    what: str
    asked: dict[str, Any]


class AuditEntries(msgspec.Struct, frozen=True):
    """Entries of the audit log, newest first.

    Attributes:
        next: Before it there are more, perhaps; null where these are the last.
    """

    entries: list[AuditEntry]
    next: int | None


@ForAdmins
async def list_audit(who: Caller, page: AuditPage) -> AuditEntries:
    """Who changed or saw what, newest first."""
    most = page_of(page.limit)
    found = await who.store.noted(page.before or None, most, who.now())
    entries = [
        AuditEntry(n.number, n.at, n.made_by, n.address, n.action, n.what, dict(n.asked))
        for n in found
    ]
    return AuditEntries(entries, entries[-1].number if entries and len(entries) == most else None)


def _object(args: Iterable[object], answer: object) -> str:
    """The names in the request's path, or those of what was made."""
    named = [arg for arg in args if isinstance(arg, str)]
    if not named:
        made = [getattr(answer, name, None) for name in ("channel", "name", "id")]
        named = [name for name in made if isinstance(name, str)]
    return "/".join(named)


def _asked(args: Iterable[object]) -> dict[str, Any]:
    """What a request's struct says; what it leaves out, or empty, is left out."""
    for said in args:
        if isinstance(said, Changes):
            return _shown(msgspec.to_builtins(said.given()))
        if isinstance(said, msgspec.Struct):
            return _shown(_filled(msgspec.to_builtins(said)))
    return {}


def _filled(fields: dict[str, Any]) -> dict[str, Any]:
    each = {n: _filled(v) if isinstance(v, dict) else v for n, v in fields.items()}
    return {n: v for n, v in each.items() if v or (v == 0 and v is not False)}


def _shown(fields: dict[str, Any]) -> dict[str, Any]:
    return {n: MASK if n in HIDDEN else _short(v) for n, v in fields.items()}


def _short(value: Any) -> Any:
    match value:
        case str() if len(value) > MAX_SHOWN_CHARS:
            return f"{value[:MAX_SHOWN_CHARS]}…"
        case dict():
            return _shown(value)
        case list() | tuple() if len(value) > MAX_SHOWN_VALUES:
            return [*map(_short, value[:MAX_SHOWN_VALUES]), "…"]
        case list() | tuple():
            return list(map(_short, value))
        case _:
            return value
