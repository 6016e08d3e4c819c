"""The relay's JSON API; its answers are checked, since anything may answer there."""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from relay_client.answers import (
    UNREADABLE,
    Accepted,
    Answer,
    Canary,
    Channels,
    EventWhole,
    Refused,
    Status,
    Whoami,
    read,
)
from relay_client.errors import (
    CHECK_URL,
    TOO_MANY_FAILURES,
    RelayProblem,
    RelayUnreachable,
    TokenRefused,
    UsageError,
)
from relay_client.relay import USER_AGENT, Relay
from relay_http.tls import make_context, trusting_nobody
from relay_protocol.text import harmless

with trusting_nobody():  # each request is given the context of its relay
    import aiohttp
    from yarl import URL

_T = TypeVar("_T")
Fields: TypeAlias = Mapping[str, str] | Sequence[tuple[str, str]]

# A request that takes longer ends the command with status 3.
_TIMEOUT_S = 10.0
# A longer answer is cut, and fails.
_MAX_ANSWER_BYTES = 16_777_216
# The same of an event, whose body may have 25 MiB, and stands in it as text and in base64.
_MAX_EVENT_BYTES = 100_663_296
# Of a feed, which says each 15 s that it is alive: longer, and it is dead.
_SILENCE_S = 45.0
FAVOURITE_CHANNEL = "chatwoot"  # what `relay-server init` makes
INVITATION = "invitation_"  # how the codes begin of what is wrong with one
TOKEN_HINT = "Check the token, or ask for a new one and run: relay-client login URL"  # noqa: S105
# The relay's own hints are for who has relay-server at hand.
_HINTS = {
    "channel_not_found": "relay-client channels lists those that the token may use.",
    "event_not_found": "relay-client events lists those that are kept.",
    "subscription_not_found": "relay-client status lists the subscriptions there are.",
    "replay_not_found": "relay-client replays lists the replays there are.",
    "too_many_replays": "Wait for one to end, or stop one: relay-client replays --stop NUMBER",
}


class Api:
    """A conversation with the relay; use it as an async context manager.

    Every method raises `RelayUnreachable`, `TokenRefused`, or `RelayProblem` for other refusals.
    """

    def __init__(self, relay: Relay) -> None:
        self.url = relay.url
        self._relay = relay
        self._http: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        # A proxy may be spoken to by TLS where the relay is not; on the way to loopback is none.
        trusted = self._relay.tls or self._relay.is_loopback or make_context()
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trusted),
            timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=not self._relay.is_loopback,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.close()

    async def whoami(self) -> Whoami:
        """Ask who the token stands for."""
        return read(await self._call("GET", "/api/v1/whoami"), Whoami)

    async def accept(self, code: str, nonce: str) -> str:
        """Have a token made of an invitation, and give it; the same again with the same nonce.

        Raises:
            TokenRefused: The invitation is not good, or not any more.
        """
        body = msgspec.json.encode({"code": code, "nonce": nonce})
        try:
            answer = await self._call("POST", "/api/v1/invitations/accept", {}, body)
        except RelayProblem as exc:
            if exc.status not in (404, 405):
                raise
            raise RelayProblem(f"{self.url} knows no invitations", CHECK_URL) from exc
        return read(answer, Accepted).token

    async def channels(self) -> Answer[Channels]:
        """Ask for the channels that the token may use."""
        return await self.ask("GET", "channels", Channels)

    async def choose_channel(self, hint: str) -> str:
        """Ask for the token's channels, and say which one is meant where none is named.

        Args:
            hint: How to name one.

        Raises:
            UsageError: It is not clear.
        """
        mine = (await self.whoami()).channels
        if mine is None:
            mine = tuple(channel.name for channel in (await self.channels()).read().channels)
        return choose_channel(mine, hint)

    async def status(self) -> Answer[Status]:
        """Ask how the relay and the token's channels are."""
        return await self.ask("GET", "status", Status)

    async def event(self, name: str) -> Answer[EventWhole]:
        """Ask for an event and its attempts, by its id or the end of it."""
        path = f"/api/v1/events/{segment(name)}"
        content = await self._call("GET", path, limit=_MAX_EVENT_BYTES)
        return Answer(read(content, dict[str, Any]), EventWhole)

    async def body(self, name: str) -> bytes:
        """Ask for an event's body, byte for byte."""
        path = f"/api/v1/events/{segment(name)}/body"
        return await self._call("GET", path, limit=_MAX_EVENT_BYTES)

    async def stop_replay(self, number: int) -> None:
        """Stop a replay that this token began."""
        await self._call("DELETE", f"/api/v1/replays/{number}")

    async def resume(self, channel: str, subscription: str) -> None:
        """Have a paused subscription go on."""
        path = f"/api/v1/channels/{segment(channel)}/subscriptions"
        await self._call("POST", f"{path}/{segment(subscription)}/resume")

    async def make_canary(self) -> Canary:
        """Have a private channel made for a check."""
        return read(await self._call("POST", "/api/v1/canary"), Canary)

    async def remove_canary(self, channel: str) -> None:
        """Have it removed again."""
        await self._call("DELETE", f"/api/v1/canary/{channel}")

    async def check_health(self) -> None:
        """Ask whether a relay answers there at all; needs no token."""
        answer = read(await self._call("GET", "/health/live", ()), dict[str, Any])
        if answer.get("status") != "live":
            raise RelayProblem(f"what answers at {self._relay.url} is no relay", CHECK_URL)

    async def post_webhook(
        self, path: str, token: str, body: bytes, headers: Fields = (), method: str = "POST"
    ) -> str:
        """Post a webhook as its sender does, with its headers, and give the event's id."""
        fields = [*pairs(headers or {"Content-Type": "application/json"})]
        fields.append(("Authorization", f"Bearer {token}"))
        answer = read(await self._call(method, path, fields, body), dict[str, Any])
        return str(answer.get("id", ""))

    async def ask(
        self, method: str, what: str, form: type[_T], said: object = None, **query: object
    ) -> Answer[_T]:
        """Ask for what stands at a path below `/api/v1/`.

        What is said becomes JSON. Of the query what is None is left out.
        """
        given = {name: value for name, value in query.items() if value is not None}
        path = f"/api/v1/{what}" + (f"?{urlencode(given)}" if given else "")
        body = None if said is None else msgspec.json.encode(said)
        return Answer(read(await self._call(method, path, body=body), dict[str, Any]), form)

    async def do(self, method: str, what: str, said: object = None) -> None:
        """Ask for something to be done, of which nothing is answered."""
        body = None if said is None else msgspec.json.encode(said)
        await self._call(method, f"/api/v1/{what}", body=body)

    @contextlib.asynccontextmanager
    async def feed(self, query: str, position: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open the live feed: its bytes, as they come, from a position on."""
        headers = {**self._own_headers, **({"Last-Event-ID": position} if position else {})}
        timeout = aiohttp.ClientTimeout(sock_connect=_TIMEOUT_S, sock_read=_SILENCE_S)
        async with self._request(
            "GET", f"/api/v1/feed?{query}", headers, timeout=timeout
        ) as answer:
            if answer.status != 200:
                raise _refusal(answer.status, await _content(answer, _MAX_ANSWER_BYTES), self.url)
            yield answer.content.iter_any()

    @property
    def _own_headers(self) -> dict[str, str]:
        # Answers are small, and what is inflated would be one bound more to keep.
        client = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
        return {**client, **self._relay.authorization}

    async def _call(
        self,
        method: str,
        path: str,
        headers: Fields | None = None,
        body: bytes | None = None,
        limit: int = _MAX_ANSWER_BYTES,
    ) -> bytes:
        fields = self._own_headers if headers is None else headers
        async with self._request(method, path, fields, body) as answer:
            content = await _content(answer, limit)
        if answer.status >= 300:
            raise _refusal(answer.status, content, self._relay.url)
        return content

    @contextlib.asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        headers: Fields,
        body: bytes | None = None,
        timeout: aiohttp.ClientTimeout | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if not path.startswith("/"):  # the relay names some: none of them is another host
            raise RelayProblem("the relay named an address that is none", CHECK_URL)
        # Taken as it is written: a webhook's path is kept byte for byte.
        url = URL(self._relay.url + path, encoded=True)
        try:
            async with self._http.request(
                method,
                url,
                headers=pairs(headers),
                data=body,
                allow_redirects=False,
                timeout=timeout or self._http.timeout,
                skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
            ) as answer:
                yield answer
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            raise _unreachable(exc, self._relay.url) from exc


def segment(text: str) -> str:
    """A part of a path, whatever signs it has."""
    return quote(text, safe="")


def pairs(headers: Fields) -> list[tuple[str, str]]:
    """Fields in their order."""
    return [*(headers.items() if isinstance(headers, Mapping) else headers)]


async def _content(answer: aiohttp.ClientResponse, limit: int) -> bytes:
    content = await answer.content.read(limit)
    while not answer.content.at_eof() and len(content) < limit:
        content += await answer.content.read(limit - len(content))
    return content


def choose_channel(channels: Sequence[str], hint: str) -> str:
    """Say which of these is meant: the only one, or Chatwoot's.

    Raises:
        UsageError: It is not clear.
    """
    if len(channels) == 1:
        return channels[0]
    if FAVOURITE_CHANNEL in channels:
        return FAVOURITE_CHANNEL
    if not channels:
        raise UsageError("the token may read no channel", "Ask for one that may.")
    names = ", ".join(sorted(channels))
    raise UsageError(f"the token may read several channels: {names}", hint)


def _unreachable(exc: aiohttp.ClientError | OSError | ValueError, url: str) -> RelayUnreachable:
    match exc:
        case aiohttp.ClientConnectorCertificateError(certificate_error=error):
            reason = getattr(error, "verify_message", "") or str(error)
            text, hint = f"its certificate is not trusted: {reason}", "Give --ca-file."
        case ssl.SSLError():
            text, hint = f"TLS failed: {exc.reason or exc}", "Check https or http in the URL."
        case aiohttp.ClientConnectorDNSError():
            text, hint = "its name is not known", "Check the URL and the network."
        case aiohttp.ClientProxyConnectionError() | aiohttp.ClientHttpProxyError():
            text, hint = f"the proxy fails: {exc}", "Check HTTPS_PROXY and NO_PROXY."
        case TimeoutError():
            text, hint = f"no answer within {_TIMEOUT_S:.0f} s", CHECK_URL
        case OSError(errno=int(number)):
            text, hint = os.strerror(number), CHECK_URL
        case _:
            text, hint = str(exc) or type(exc).__name__, CHECK_URL
    return RelayUnreachable(f"{url} cannot be reached: {harmless(text)}", hint)


def _refusal(
    status: int, content: bytes, url: str
) -> TokenRefused | RelayProblem | RelayUnreachable:
    try:
        error = msgspec.json.decode(content, type=Refused).error
    except UNREADABLE:
        error = None
    if error is not None and error.code.startswith(INVITATION):
        return TokenRefused(harmless(error.message), harmless(error.hint or ""))
    if status == 401:
        return TokenRefused("the relay does not accept the token (401)", TOKEN_HINT)
    if error is None:
        if status in (502, 503, 504):
            return RelayUnreachable(f"{url} is not ready ({status})", CHECK_URL)
        return RelayProblem(f"{url} answered {status}", CHECK_URL, status=status)
    if error.code == TOO_MANY_FAILURES:  # a good token is let in, however many were wrong
        return TokenRefused(
            "the relay does not accept the token, like many before (429)", TOKEN_HINT
        )
    return RelayProblem(
        f"the relay refused: {harmless(error.message)} ({status})",
        _HINTS.get(error.code, harmless(error.hint or "")),
        status=status,
    )
