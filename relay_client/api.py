"""The relay's JSON API; its answers are checked, since anything may answer there."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import msgspec

from relay_client.answers import (
    UNREADABLE,
    Accepted,
    Answer,
    Canary,
    Channels,
    Plan,
    Refused,
    Replays,
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

_T = TypeVar("_T")

# A request that takes longer ends the command with status 3.
_TIMEOUT_S = 10.0
# A longer answer is cut, and fails.
_MAX_ANSWER_BYTES = 16_777_216
FAVOURITE_CHANNEL = "chatwoot"  # what `relay-server init` makes
INVITATION = "invitation_"  # how the codes begin of what is wrong with one
TOKEN_HINT = "Check the token, or ask for a new one and run: relay-client login URL"  # noqa: S105
# The relay's own hints are for who has relay-server at hand.
_HINTS = {
    "channel_not_found": "relay-client channels lists those that the token may use.",
    "event_not_found": "relay-client connect --output plain shows the ids of events.",
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
            # Answers are small, and what is inflated would be one bound more to keep.
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
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
        return await self._ask("GET", "channels", Channels)

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
        return await self._ask("GET", "status", Status)

    async def event(self, event_id: str) -> dict[str, Any]:
        """Ask for an event and its attempts."""
        return read(await self._call("GET", f"/api/v1/events/{event_id}"), dict[str, Any])

    async def replay(self, body: Mapping[str, Any]) -> Answer[Replays]:
        """Have events delivered once more."""
        return await self._ask("POST", "replays", Replays, msgspec.json.encode(body))

    async def plan_replay(self, body: Mapping[str, Any]) -> Answer[Plan]:
        """Ask what a replay would be of; nothing begins."""
        asked = msgspec.json.encode({**body, "dry_run": True})
        return await self._ask("POST", "replays", Plan, asked)

    async def replays(self, channel: str | None = None) -> Answer[Replays]:
        """Ask for the replays of the token's channels, or of one."""
        query = f"?channel={quote(channel, safe='')}" if channel else ""
        return await self._ask("GET", f"replays{query}", Replays)

    async def stop_replay(self, number: int) -> None:
        """Stop a replay that this token began."""
        await self._call("DELETE", f"/api/v1/replays/{number}")

    async def resume(self, channel: str, subscription: str) -> None:
        """Have a paused subscription go on."""
        path = f"/api/v1/channels/{quote(channel, safe='')}/subscriptions"
        await self._call("POST", f"{path}/{quote(subscription, safe='')}/resume")

    async def make_canary(self) -> Canary:
        """Have a private channel made for a check."""
        return read(await self._call("POST", "/api/v1/canary"), Canary)

    async def remove_canary(self, channel: str) -> None:
        """Have it removed again."""
        await self._call("DELETE", f"/api/v1/canary/{channel}")

    async def check_health(self) -> None:
        """Ask whether a relay answers there at all; needs no token."""
        answer = read(await self._call("GET", "/health/live", {}), dict[str, Any])
        if answer.get("status") != "live":
            raise RelayProblem(f"what answers at {self._relay.url} is no relay", CHECK_URL)

    async def post_webhook(self, path: str, token: str, body: bytes) -> str:
        """Post a webhook as a sender does, and give the event's id."""
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        answer = read(await self._call("POST", path, headers, body), dict[str, Any])
        return str(answer.get("id", ""))

    async def _ask(
        self, method: str, what: str, form: type[_T], body: bytes | None = None
    ) -> Answer[_T]:
        content = await self._call(method, f"/api/v1/{what}", body=body)
        return Answer(read(content, dict[str, Any]), form)

    async def _call(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> bytes:
        if headers is None:
            headers = self._relay.authorization
        if not path.startswith("/"):  # the relay names some: none of them is another host
            raise RelayProblem("the relay named an address that is none", CHECK_URL)
        try:
            async with self._http.request(
                method, self._relay.url + path, headers=headers, data=body, allow_redirects=False
            ) as answer:
                content = await answer.content.read(_MAX_ANSWER_BYTES)
                while not answer.content.at_eof() and len(content) < _MAX_ANSWER_BYTES:
                    content += await answer.content.read(_MAX_ANSWER_BYTES - len(content))
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            raise _unreachable(exc, self._relay.url) from exc
        if answer.status >= 300:
            raise _refusal(answer.status, content, self._relay.url)
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
