"""A Chatwoot's API, as far as Relay uses it, read in its controllers of 4.16.2.

    async with open_chatwoot(url, account, token) as chatwoot:
        webhooks = await chatwoot.webhooks()

Each call has a deadline, its answer a bound; each answer is checked before it is used. A redirect
is not followed: the token would go along. The token is in no log, error or `repr`.

Who may call what: webhooks, bots and inboxes are an administrator's; conversations an agent bot's,
too (reading them and their labels since 4.14.2).
"""

from __future__ import annotations

import asyncio
import functools
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp
import msgspec

from relay_chatwoot import errors
from relay_chatwoot.errors import ChatwootError, ChatwootUnreachable, NotChatwoot
from relay_chatwoot.resources import (
    Account,
    Bot,
    Conversation,
    Inbox,
    Message,
    Profile,
    Version,
    Webhook,
)
from relay_http.tls import make_context
from relay_protocol.text import harmless
from relay_protocol.times import retry_after

CALL_S = 10.0  # for one call to a Chatwoot, its answer included
MAX_ANSWER_BYTES = 1_048_576  # of a Chatwoot's answer; a longer one is refused
RETRY_AFTER_MAX_S = 3_600.0  # that a Chatwoot is not called, whatever its `Retry-After` asks for
# It answered nothing, and may do so later: too many requests, and errors of its own.
_PASSING = frozenset({408, 429, *range(500, 600)})

_T = TypeVar("_T")


class _Webhooks(msgspec.Struct):
    webhooks: tuple[Webhook, ...]


class _Webhook(msgspec.Struct):
    webhook: Webhook


class _Payload(msgspec.Struct):
    payload: msgspec.Raw


class _Status(msgspec.Struct):
    current_status: str


class _AgentBot(msgspec.Struct):
    agent_bot: msgspec.Raw = msgspec.Raw(b"{}")


class Chatwoot:
    """An account of a Chatwoot, with somebody's token.

    Every call raises `ChatwootError` if it fails; `again` of it says whether it may succeed later.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str, account: int, token: str) -> None:
        self.url = url
        self.account = account
        self._session = session
        self._token = token

    def __repr__(self) -> str:
        return f"<Chatwoot {self.url} account {self.account}>"

    def of(self, account: int) -> Chatwoot:
        """Another account of the installation, with the same token."""
        return Chatwoot(self._session, self.url, account, self._token)

    # The installation, and whose the token is

    async def version(self) -> Version:
        """Of the installation; the only call without the token."""
        return await self._ask("GET", "/api", Version, secret=False)

    async def profile(self) -> Profile:
        """Whose the token is, if it is a user's."""
        return await self._ask("GET", "/api/v1/profile", Profile)

    async def settings(self) -> Account:
        """The account."""
        return await self._ask("GET", f"/api/v1/accounts/{self.account}", Account)

    # Webhooks of the account: it takes the secret from nobody, and makes no new one

    async def webhooks(self) -> tuple[Webhook, ...]:
        """All there are."""
        return (await self._payload("GET", "webhooks", _Webhooks)).webhooks

    async def create_webhook(self, url: str, name: str, events: Sequence[str]) -> Webhook:
        """Make one; its URL can be no other's of the account."""
        body = {"url": url, "name": name, "subscriptions": list(events)}
        return (await self._payload("POST", "webhooks", _Webhook, body)).webhook

    async def change_webhook(self, id_: int, **fields: Any) -> Webhook:
        """Change its `url`, `name` or `subscriptions`."""
        return (await self._payload("PATCH", f"webhooks/{id_}", _Webhook, fields)).webhook

    async def delete_webhook(self, id_: int) -> None:
        """Remove it."""
        await self._do("DELETE", f"webhooks/{id_}")

    # Agent bots

    async def bots(self) -> tuple[Bot, ...]:
        """All there are, the system's included."""
        return await self._of_account("GET", "agent_bots", tuple[Bot, ...])

    async def create_bot(self, url: str, name: str) -> Bot:
        """Make one; no inbox has it yet."""
        body = {"name": name, "outgoing_url": url, "bot_type": "webhook"}
        return await self._of_account("POST", "agent_bots", Bot, body)

    async def change_bot(self, id_: int, **fields: Any) -> Bot:
        """Change its `name` or `outgoing_url`."""
        return await self._of_account("PATCH", f"agent_bots/{id_}", Bot, fields)

    async def delete_bot(self, id_: int) -> None:
        """Remove it, from its inboxes too."""
        await self._do("DELETE", f"agent_bots/{id_}")

    async def reset_bot_secret(self, id_: int) -> Bot:
        """Have it sign with another secret from now on."""
        return await self._of_account("POST", f"agent_bots/{id_}/reset_secret", Bot)

    # Inboxes

    async def inboxes(self) -> tuple[Inbox, ...]:
        """All there are."""
        return await self._payload("GET", "inboxes", tuple[Inbox, ...])

    async def create_inbox(self, url: str, name: str) -> Inbox:
        """Make one of an API, with a webhook."""
        body = {"name": name, "channel": {"type": "api", "webhook_url": url}}
        return await self._of_account("POST", "inboxes", Inbox, body)

    async def change_inbox(self, id_: int, url: str) -> Inbox:
        """Give one of an API another webhook; an empty URL is none."""
        body = {"channel": {"webhook_url": url}}
        return await self._of_account("PATCH", f"inboxes/{id_}", Inbox, body)

    async def reset_inbox_secret(self, id_: int) -> Inbox:
        """Have its webhook be signed with another secret from now on."""
        return await self._of_account("POST", f"inboxes/{id_}/reset_secret", Inbox)

    async def bot_of(self, inbox: int) -> Bot | None:
        """The bot that answers in an inbox."""
        path = f"inboxes/{inbox}/agent_bot"
        found = (await self._of_account("GET", path, _AgentBot)).agent_bot
        return None if bytes(found) in (b"{}", b"null") else self._read(path, bytes(found), Bot)

    async def set_bot(self, inbox: int, bot: int | None) -> None:
        """Have a bot answer in an inbox; new conversations are pending then. None takes it off."""
        await self._do("POST", f"inboxes/{inbox}/set_agent_bot", {"agent_bot": bot})

    # Conversations, with a bot's token

    async def conversation(self, id_: int) -> Conversation:
        """How it is now; a bot's token may read it since 4.14.2."""
        return await self._of_account("GET", f"conversations/{id_}", Conversation)

    async def write(self, id_: int, content: str, *, private: bool) -> Message:
        """Write into it; what is private is a note that the customer never sees."""
        body = {"content": content, "message_type": "outgoing", "private": private}
        return await self._of_account("POST", f"conversations/{id_}/messages", Message, body)

    async def labels(self, id_: int) -> tuple[str, ...]:
        """Its labels."""
        return await self._payload("GET", f"conversations/{id_}/labels", tuple[str, ...])

    async def set_labels(self, id_: int, labels: Sequence[str]) -> tuple[str, ...]:
        """Give it these labels, and no others."""
        body = {"labels": list(labels)}
        return await self._payload("POST", f"conversations/{id_}/labels", tuple[str, ...], body)

    async def set_status(self, id_: int, status: str) -> str:
        """Set its status, and give what it is now. A bot that opens a pending one hands it over."""
        path, body = f"conversations/{id_}/toggle_status", {"status": status}
        return (await self._payload("POST", path, _Status, body)).current_status

    async def assign(self, id_: int, *, team: int | None = None, user: int | None = None) -> None:
        """Give it to a team, or to a user; one of them."""
        body = {"team_id": team} if team is not None else {"assignee_id": user}
        await self._do("POST", f"conversations/{id_}/assignments", body)

    async def typing(self, id_: int, on: bool) -> None:
        """Show the customer that somebody types, or no more."""
        body = {"typing_status": "on" if on else "off"}
        await self._do("POST", f"conversations/{id_}/toggle_typing_status", body)

    # How it is asked

    async def _payload(
        self, method: str, path: str, kind: type[_T], body: dict[str, Any] | None = None
    ) -> _T:
        inside = (await self._of_account(method, path, _Payload, body)).payload
        return self._read(path, bytes(inside), kind)

    async def _of_account(
        self, method: str, path: str, kind: type[_T], body: dict[str, Any] | None = None
    ) -> _T:
        return await self._ask(method, self._place(path), kind, body)

    async def _do(self, method: str, path: str, body: dict[str, Any] | None = None) -> None:
        await self._exchange(method, self._place(path), body, secret=True)

    def _place(self, path: str) -> str:
        return f"/api/v1/accounts/{self.account}/{path}"

    async def _ask(
        self,
        method: str,
        path: str,
        kind: type[_T],
        body: dict[str, Any] | None = None,
        *,
        secret: bool = True,
    ) -> _T:
        return self._read(path, await self._exchange(method, path, body, secret=secret), kind)

    def _read(self, path: str, raw: bytes, kind: type[_T]) -> _T:
        try:
            return msgspec.json.decode(raw, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise NotChatwoot(self.url, path, f"{path}: {exc}") from None

    async def _exchange(
        self, method: str, path: str, body: dict[str, Any] | None, *, secret: bool
    ) -> bytes:
        what = f"{method} {path}"
        try:
            async with asyncio.timeout(CALL_S):
                status, headers, raw = await self._send(method, path, body, secret=secret)
        except TimeoutError:
            raise self._unreachable(what, f"not within {CALL_S:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            raise self._unreachable(what, _why(exc)) from None
        if status in _PASSING:
            raise self._unreachable(what, f"it says {status}", _retry_after(headers))
        if 300 <= status < 400:
            where = harmless(headers.get("Location", "nowhere"))
            raise NotChatwoot(self.url, what, f"it leads to {where}")
        if status >= 400:
            raise refusal(self.url, status, what, raw)
        return raw

    def _unreachable(self, what: str, why: str, retry_after_s: float = 0.0) -> ChatwootUnreachable:
        return ChatwootUnreachable(self.url, what, why, retry_after_s)

    async def _send(
        self, method: str, path: str, body: dict[str, Any] | None, *, secret: bool
    ) -> tuple[int, Mapping[str, str], bytes]:
        headers = {
            "Accept": "application/json"
        }  # else Rails says in HTML that it has no such route
        if secret:
            headers["api_access_token"] = self._token
        request = self._session.request(
            method, self.url + path, json=body, headers=headers, allow_redirects=False
        )
        async with request as answer:
            raw = bytearray()
            async for chunk in answer.content.iter_any():
                raw += chunk
                if len(raw) > MAX_ANSWER_BYTES:
                    raise ValueError(f"the answer is larger than {MAX_ANSWER_BYTES} bytes")
            return answer.status, answer.headers, bytes(raw)


_tls = functools.cache(make_context)  # 50 ms, in which nothing else is done


def _why(exc: Exception) -> str:
    return str(exc) or type(exc).__name__


def _retry_after(headers: Mapping[str, str]) -> float:
    asked_s = retry_after(headers.get("Retry-After", ""), round(time.time() * 1_000)) or 0.0
    return min(max(asked_s, 0.0), RETRY_AFTER_MAX_S)


def plain_url(url: str) -> str:
    """An installation's address as people write it, without a path.

    Raises:
        NotChatwoot: It can be none.
    """
    with suppress(ValueError):  # of a port, or an address by IPv6, that is none
        parts = urlsplit(url if "://" in url else f"https://{url}")
        is_one = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        if is_one and "@" not in parts.netloc:
            return f"{parts.scheme}://{parts.netloc}"
    shown = url.rpartition("@")[2]  # what stands before it may be a password
    raise NotChatwoot(shown, "", "it is no address by http:// or https://")


# Chatwoot answers 401 for nearly everything, and tells the causes apart in words alone. Those that
# it translates say that a user is none of the account's.
_OF_401 = {
    "Invalid Access Token": errors.ChatwootTokenRefused,
    "Access to this endpoint is not authorized for bots": errors.NotForBots,
    "You are not authorized to do this action": errors.NotAdministrator,
    "Account is suspended": errors.NotInAccount,
    "Bot is not authorized to access this account": errors.NotInAccount,
}
_OF_STATUS = {
    402: errors.ChatwootInvalid,
    403: errors.ChatwootApiOff,
    404: errors.GoneFromChatwoot,
    422: errors.ChatwootInvalid,
}


def refusal(where: str, status: int, what: str, raw: bytes) -> ChatwootError:
    """The error that an answer stands for, from 400 on; `what` is such as `POST webhooks`."""
    answer = _decoded(raw)
    if answer is None:
        return NotChatwoot(where, what, f"it says {status}, and not as JSON")
    text = harmless(str(answer.get("error") or answer.get("message") or "without a reason"))
    if status == 401 and "errors" in answer:
        return errors.ChatwootTokenUnseen(where, what, text)
    if status == 401:
        return _OF_401.get(text, errors.NotInAccount)(where, what, text)
    if status in _OF_STATUS:
        return _OF_STATUS[status](where, what, text)
    return ChatwootError(where, what, f"{status} {text}")


def _decoded(raw: bytes) -> dict[str, Any] | None:
    """An answer's object; None where it is none, as what a proxy says of itself."""
    try:
        answer = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


@asynccontextmanager
async def open_chatwoot(url: str, account: int, token: str) -> AsyncIterator[Chatwoot]:
    """Speak to an account of a Chatwoot, at a URL of `plain_url`'s, with anybody's token."""
    tls = _tls() if url.startswith("https:") else True
    connector = aiohttp.TCPConnector(ssl=tls)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield Chatwoot(session, url, account, token)
