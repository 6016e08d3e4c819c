"""The relay's JSON API; its answers are checked, since anything may answer there."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from relay_client import reasons
from relay_client.answers import (
    Accepted,
    Answer,
    Canary,
    Channels,
    EventWhole,
    Status,
    Whoami,
    read,
)
from relay_client.errors import (
    CHECK_URL,
    ClientError,
    RelayProblem,
    TokenRefused,
    UsageError,
)
from relay_client.relay import USER_AGENT, Relay
from relay_http.tls import make_context, trusting_nobody
from relay_terminal.words import _, spoken

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
_WHOAMI = "/api/v1/whoami"
FAVOURITE_CHANNEL = "chatwoot"  # what `relay-server init` makes


class Api:
    """A conversation with the relay; use it as an async context manager.

    Every method raises `RelayUnreachable`, `TokenRefused`, or `RelayProblem` for other refusals.

    Attributes:
        relay_date: What the relay said last of the time, as HTTP has it; empty before.
    """

    def __init__(self, relay: Relay) -> None:
        self.url = relay.url
        self.relay_date = ""
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
            proxy=self._relay.proxy,
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
        return read(await self._call("GET", _WHOAMI), Whoami)

    async def accept(self, code: str, nonce: str) -> str:
        """Have a token made of an invitation, and give it; the same again with the same nonce.

        Raises:
            TokenRefused: The invitation is not good, or not any more.
        """
        body = msgspec.json.encode({"code": code, "nonce": nonce})
        try:
            language = {"Accept-Language": spoken()}  # and no token: there is none yet
            answer = await self._call("POST", "/api/v1/invitations/accept", language, body)
        except RelayProblem as exc:
            if exc.status not in (404, 405):
                raise
            raise RelayProblem(
                _("{url} knows no invitations").format(url=self.url), CHECK_URL
            ) from exc
        return read(answer, Accepted).token

    async def channels(self) -> Answer[Channels]:
        """Ask for the channels that the token may use."""
        return await self.ask("GET", "channels", Channels)

    async def choose_channel(self, hint: str) -> str:
        """Ask for the token's channels, and say which one is meant where none is named.

        Raises:
            UsageError: It is not clear.
        """
        return choose_channel(await self.own_channels(), hint)

    async def own_channels(self) -> Sequence[str]:
        """Ask for the names of the channels that the token may use."""
        mine = (await self.whoami()).channels
        if mine is None:
            mine = tuple(channel.name for channel in (await self.channels()).read().channels)
        return mine

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

    def subscription(self, channel: str, name: str) -> str:
        """The path of a subscription, for `ask` and `do`."""
        return f"channels/{segment(channel)}/subscriptions/{segment(name)}"

    async def make_canary(self) -> Canary:
        """Have a private channel made for a check."""
        return read(await self._call("POST", "/api/v1/canary"), Canary)

    async def check_health(self) -> None:
        """Ask whether a relay answers there at all; needs no token."""
        content = await self._call("GET", "/health/live", ())
        if content.lstrip()[:1] == b"<":
            raise reasons.web_page(self.url)
        answer = read(content, dict[str, Any])
        if answer.get("status") != "live":
            raise RelayProblem(
                _("what answers at {url} is no relay").format(url=self._relay.url), CHECK_URL
            )

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
        whole = read(await self._call(method, path, body=body), dict[str, Any])
        lists = [value for value in whole.values() if isinstance(value, list)]
        if lists and not any(lists):  # as a token is shown that may not read
            missing = reasons.scope_missing(await self.whoami())
            if missing is not None:
                raise missing
        return Answer(whole, form)

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
                content = await _content(answer, _MAX_ANSWER_BYTES)
                raise await self.explained(self._refusal(answer, content))
            yield answer.content.iter_any()

    @property
    def _own_headers(self) -> dict[str, str]:
        # Answers are small, and what is inflated would be one bound more to keep.
        client = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
        return {**client, "Accept-Language": spoken(), **self._relay.authorization}

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
            error = self._refusal(answer, content)
            raise await self.explained(error, path) if headers is None else error
        self.relay_date = answer.headers.get("Date", "")
        return content

    def _refusal(self, answer: aiohttp.ClientResponse, content: bytes) -> ClientError:
        server = answer.headers.get("Server", "")
        return reasons.refusal(answer.status, content, self.url, server)

    async def explained(self, error: ClientError, path: str = "") -> ClientError:
        """Say what a refusal means, by what the relay says of the token and itself."""
        if path == _WHOAMI:
            return await self._of_port(error)
        if not isinstance(error, TokenRefused | RelayProblem):
            return error
        try:
            me = await self.whoami()
        except ClientError as exc:
            return exc if isinstance(error, reasons.NoSuchRoute) else error
        if (missing := reasons.scope_missing(me)) is not None:
            return missing
        if isinstance(error, reasons.NoSuchRoute) and reasons.is_older(me.server_version):
            return reasons.too_old(me.server_version)
        return error

    async def _of_port(self, error: ClientError) -> ClientError:
        """A relay without this path: its other port has one that this has not."""
        if not isinstance(error, reasons.NoSuchRoute):
            return error
        with contextlib.suppress(ClientError):
            await self._call("GET", "/metrics", ())
            return reasons.ops_port(self.url)
        return error

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
            raise RelayProblem(_("the relay named an address that is none"), CHECK_URL)
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
            raise reasons.unreachable(exc, self.url, _TIMEOUT_S) from exc


def segment(text: str) -> str:
    """A part of a path, whatever signs it has."""
    return quote(text, safe="")


def pairs(headers: Fields) -> list[tuple[str, str]]:
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
        raise UsageError(_("the token may read no channel"), _("Ask for one that may."))
    names = ", ".join(sorted(channels))
    raise UsageError(_("the token may read several channels: {names}").format(names=names), hint)
