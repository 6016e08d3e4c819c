"""Why a sender was not let in, in words that one can act on. No answer to it has them.

Each function is called for a group of like refusals, at most once a second: it may try what a
mistake would look like. What it names of others (`Cause.whose`) not everybody is shown.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections import OrderedDict
from collections.abc import Iterator, Sequence

import msgspec

from relay_protocol.text import harmless
from relay_protocol.times import rfc3339
from relay_protocol.tokens import TOKEN_CHARS, TOKEN_PREFIX
from relay_server.auth import digest, find_token
from relay_server.channels import CANARY_PREFIX
from relay_server.clock import Clock
from relay_server.configs import HmacAuth
from relay_server.errors import InvalidValue, Unauthorized
from relay_server.refusals import Cause
from relay_server.sealing import Sealer
from relay_server.signing import SCHEMES, SIGNATURE_TOLERANCE_S, fits, is_time
from relay_server.signing.providers import Digest
from relay_server.signing.scheme import Claim, Request, Scheme
from relay_server.store.feed import TokenMade, TokenRevoked
from relay_server.store.interface import Store
from relay_server.values import Catalog, Channel, Token

MAX_REVOKED = 1_000  # tokens that are remembered after their end
MAX_TRIED_BYTES = 65_536  # of a body that is signed again in other ways, to see what was meant
SHOWN_CHARS = 4  # of a secret's beginning that are shown, where it is a long one
AROUND = b" \t\r\n\"'"  # what gets around a secret that was pasted


class Revoked:
    """Tokens that were revoked since the start: whoever still shows one can be told so."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._clock = clock
        self._digests = {token.name: token.digest for token in store.catalog.tokens.values()}
        self._revoked = OrderedDict[bytes, tuple[str, int]]()
        store.feed.listen(TokenMade, self._made)
        store.feed.listen(TokenRevoked, self._token_revoked)

    def find(self, secret: bytes) -> tuple[str, int] | None:
        """Name and end of a revoked token, in Unix milliseconds."""
        return self._revoked.get(digest(secret))

    def _made(self, change: TokenMade) -> None:
        self._digests[change.token.name] = change.token.digest

    def _token_revoked(self, change: TokenRevoked) -> None:
        gone = self._digests.pop(change.name, None)
        if gone is not None and not change.name.startswith(CANARY_PREFIX):
            self._revoked[gone] = change.name, self._clock.unix_ms()
            if len(self._revoked) > MAX_REVOKED:
                self._revoked.popitem(last=False)


def of_unknown_channel(catalog: Catalog, name: str) -> Cause:
    """Why nothing can be sent to a channel that is not there."""
    known = [channel.name for channel in catalog.channels.values() if not channel.config.owner]
    near = difflib.get_close_matches(name[:64], known, 1)
    says = "there is no channel of this name"
    if near:
        says = "there is no channel of this name; one has nearly the same"
    return Cause(says=says, fix="relay-server channel list", whose="".join(near))


def of_address(channel: Channel, address: str) -> Cause:
    """Why an address was not let in."""
    shown = harmless(address, 64)
    fix = f"relay-server channel set {channel.name} --allow-from … {shown}"
    return Cause(shown, "the address is in none of the channel's networks", fix)


def of_token(
    catalog: Catalog,
    revoked: Revoked,
    channel: Channel,
    in_query: Sequence[bytes],
    in_head: Sequence[bytes],
) -> Cause:
    """Why a sender was not let in by what it showed in its query and its head."""
    shown = *in_query, *in_head
    if not shown:
        fix = f"relay-server token create NAME --scope send --channel {channel.name}"
        return Cause("nothing", "neither ?token=, nor Authorization with Bearer or Basic", fix)
    cause = _of_token(catalog, revoked, channel, shown[0])
    where = "?token=" if in_query else "Authorization"
    return msgspec.structs.replace(cause, shown=f"{where}: {masked(shown[0])}")


def of_bearer(catalog: Catalog, revoked: Revoked, shown: bytes) -> Cause:
    """Why a request to the API or the WebSocket was not let in."""
    if not shown:
        return Cause("nothing", "no Authorization with Bearer", "relay-client login URL")
    cause = _of_token(catalog, revoked, None, shown)
    return msgspec.structs.replace(cause, shown=f"Authorization: {masked(shown)}")


def _of_token(catalog: Catalog, revoked: Revoked, channel: Channel | None, secret: bytes) -> Cause:
    if (token := find_token(catalog, secret)) is not None:
        return _of_known(token, channel)
    if (gone := revoked.find(secret)) is not None:
        says = f"a token that was revoked at {rfc3339(gone[1])}"
        return Cause(says=says, fix="give the sender another", whose=gone[0])
    if (token := find_token(catalog, secret.strip(AROUND))) is not None:
        says = "a good token, with spaces or quotes around it"
        return Cause(says=says, fix="paste it without them", whose=token.name)
    if not secret.startswith(TOKEN_PREFIX.encode()):
        says = f"no token of Relay's, which begin with {TOKEN_PREFIX}"
    elif len(secret) != TOKEN_CHARS:
        says = f"a token in part: {len(secret)} characters, where one has {TOKEN_CHARS}"
    else:
        says = "a token of another relay, or one that was revoked before this start"
    return Cause(says=says, fix="relay-server token create NAME makes one, and shows it once")


def _of_known(token: Token, channel: Channel | None) -> Cause:
    scopes = ", ".join(sorted(token.scopes))
    if channel is not None and token.channels is not None and channel.name not in token.channels:
        says = "a good token, but for other channels"
    else:
        says = f"a good token, but one that may only {scopes}"
    return Cause(says=says, fix="use, or make, one with the scope and channel", whose=token.name)


def of_challenge(catalog: Catalog, revoked: Revoked, channel: Channel, shown: bytes) -> Cause:
    """Why the token of a challenge is wrong."""
    cause = _of_token(catalog, revoked, channel, shown)
    return msgspec.structs.replace(cause, shown=f"hub.verify_token: {masked(shown)}")


def of_signature(
    sealer: Sealer, catalog: Catalog, channel: Channel, sent: Request, now_s: float
) -> Cause:
    """Why a signature is wrong: also by what it would have been right for."""
    config = channel.config.hmac
    assert config is not None
    scheme = SCHEMES[config.scheme]
    try:
        claim = scheme.read(sent)
    except Unauthorized as exc:
        return _of_none(config.scheme, exc.reason, channel)
    shown = f"a signature over {len(sent.body)} bytes"
    if scheme.timed:
        if not is_time(claim.stamp):
            return Cause("a timestamp that is no time", "it takes seconds since 1970", "")
        age_s = round(now_s - int(claim.stamp))
        shown += f", {age_s} s old"
        if abs(age_s) > SIGNATURE_TOLERANCE_S:
            says = (
                f"more than {SIGNATURE_TOLERANCE_S} s from now: held back on the way, or the clock"
            )
            return Cause(shown, says, "compare the clocks of both servers")
    return _of_wrong(sealer, catalog, channel, scheme, claim, sent, shown)


def _of_none(scheme: str, reason: str, channel: Channel) -> Cause:
    """What a request lacks, that has no signature to look at."""
    if scheme == "chatwoot":
        says = "not signed: automation rules and macros of Chatwoot's never are"
        return Cause("nothing", says, "a channel of its own for these, without a signature")
    fix = f"relay-server channel set {channel.name} --hmac-scheme, as its sender signs"
    return Cause("nothing", f"not signed as {scheme} does: {reason}", fix)


def _of_wrong(
    sealer: Sealer,
    catalog: Catalog,
    channel: Channel,
    scheme: Scheme,
    claim: Claim,
    sent: Request,
    shown: str,
) -> Cause:
    secrets = _opened(sealer, channel.config.hmac)
    wrong = "does not fit the channel's secret"
    if len(secrets) > 1:
        wrong = f"fits none of {len(secrets)} secrets"
    says = f"it {wrong}: it is another one, or the body was changed"
    fix = f"relay-server channel set {channel.name} --hmac-secret-file, with the sender's secret"
    if len(sent.body) > MAX_TRIED_BYTES:
        return Cause(shown, says, fix)
    for secret in secrets:
        for what, signer, key, signed in _mistakes(scheme, secret, sent):
            if _fits(signer, key, signed, claim):
                return Cause(shown, what, "")
    for other in catalog.channels.values():
        config = None if other is channel else other.config.hmac
        for secret in _opened(sealer, config):
            if _fits(scheme, secret, sent, claim):
                return Cause(shown, "signed with the secret of another channel", fix, other.name)
    return Cause(shown, says, fix)


def _mistakes(
    scheme: Scheme, secret: bytes, sent: Request
) -> Iterator[tuple[str, Scheme, bytes, Request]]:
    """What could be wrong, and the scheme, secret and request that would show it."""
    if isinstance(scheme, Digest) and scheme.time:
        yield "signed without the timestamp", dataclasses.replace(scheme, time=b""), secret, sent
    stripped = secret.strip(AROUND)
    if stripped != secret:
        says = "the secret here has spaces or quotes around it that the sender's has not"
        yield says, scheme, stripped, sent
    for end in (b"\n", b"\r\n"):
        yield "the secret here lacks a line end", scheme, secret + end, sent
    for body in _respaced(sent.body):
        says = "the body was changed on the way: its JSON was read and written again"
        yield says, scheme, secret, sent._replace(body=body)


def _respaced(body: bytes) -> Iterator[bytes]:
    """The same JSON as others would write it."""
    try:
        written = msgspec.json.encode(msgspec.json.decode(body))
        spaced = msgspec.json.format(body, indent=0)
    except (msgspec.MsgspecError, ValueError, RecursionError):  # a stranger wrote it
        return
    yield from (written, spaced, body.strip())


def _fits(scheme: Scheme, secret: bytes, sent: Request, claim: Claim) -> bool:
    try:
        return fits(scheme, (secret,), claim, sent)
    except (InvalidValue, Unauthorized):
        return False  # with a secret, or a body, that is none of the scheme's


def _opened(sealer: Sealer, config: HmacAuth | None) -> list[bytes]:
    try:
        return [sealer.open(secret) for secret in config.secrets] if config else []
    except InvalidValue:
        return []  # the log has it


def masked(secret: bytes) -> str:
    """How long a secret is, and of a long one how it begins."""
    length = f"{len(secret)} characters"
    if len(secret) < 4 * SHOWN_CHARS:
        return length
    return f"{length}, begins {harmless(secret[:SHOWN_CHARS].decode('latin-1'))}"
