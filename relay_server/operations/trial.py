"""A try of a channel: a webhook of the server's own goes the way of the channel's, by its rules.

It goes through the port, the disk, a reader and back (`canary`), on a channel that is made for it
and goes after it: nobody who reads the channel gets anything.
"""

from __future__ import annotations

import contextlib
import secrets

import msgspec

from relay_protocol.errors import RelayError
from relay_protocol.values import HeaderList, RequestHead
from relay_server.canary import BODY, Canary, Prove
from relay_server.channels import CANARY_PREFIX
from relay_server.errors import InvalidValue
from relay_server.operations import Caller, ForAdmins
from relay_server.operations.audit import audited
from relay_server.signing import scheme_named, sign
from relay_server.signing.twilio import digest_in_query
from relay_server.values import Channel

DIGESTED = f"?{digest_in_query(BODY)}"  # for Twilio, which signs the URL
STEPS = ("made", "taken", "delivered", "recorded")  # as a canary goes them


class Tried(msgspec.Struct, frozen=True):
    """How a try of a channel went.

    Attributes:
        done: The steps that were done, of `STEPS`.
        failure: What the next one failed with; empty where all were done.
        signed: It was signed, as the channel asks.
    """

    channel: str
    done: list[str]
    failure: str
    took_ms: int
    signed: bool


@ForAdmins
@audited("channel.test")
async def try_channel(who: Caller, name: str) -> Tried:
    """Send a webhook by a channel's rules along its whole way, where nobody else reads it."""
    parts, channel = who.parts, who.channel(name)
    if parts.own_port is None or parts.making_canary.locked():
        raise InvalidValue("another test is under way: try again in a moment")
    async with parts.making_canary:
        trial = Canary(
            parts.store,
            parts.hub,
            parts.clock,
            parts.metrics,
            every_s=0.0,
            name=f"{CANARY_PREFIX}test-{secrets.token_hex(8)}",
            rules=channel.config,
            prove=_prove(who, channel),
            query=DIGESTED,
        )
        try:
            result = await trial.round(*parts.own_port)
        finally:
            with contextlib.suppress(RelayError):  # the store is away: it is forgotten, and goes so
                await trial.end()
    return Tried(
        channel.name,
        [*STEPS[: trial.done]],
        result.failure,
        round(1_000 * result.took_s),
        channel.config.hmac is not None,
    )


def _prove(who: Caller, channel: Channel) -> Prove | None:
    if (hmac := channel.config.hmac) is None:
        return None
    scheme, secret = scheme_named(hmac.scheme), who.parts.sealer.open(hmac.secrets[0])

    def prove(head: RequestHead, body: bytes) -> HeaderList:
        return sign(scheme, secret, head, body, who.now() // 1_000, "msg_canary")

    return prove
