"""A bot that looks at a signature's age: what comes late is let in, if it is signed anew."""

from __future__ import annotations

import base64
import hmac
import json
import time
from contextlib import AsyncExitStack
from pathlib import Path

from tests.support.chatwoot import SECRET, fixture, headers, signature, webhook
from tests.support.relay import open_relay
from tests.support.target import OK, Arrival, Target, open_target

REFUSED = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"
BODY = fixture("message_created_incoming")
HOUR_S = 3_600


class Bot:
    """Answers 2xx to what is signed with its secret, within five minutes of now."""

    def __init__(self, target: Target, secret: str = SECRET) -> None:
        self.target, self.secret = target, secret
        target.answer = self.answer

    async def answer(self, arrival: Arrival) -> bytes:
        stamp = arrival.header(b"X-Chatwoot-Timestamp").decode()
        made = signature(self.secret, stamp, arrival.body)
        fits = hmac.compare_digest(made.encode(), arrival.header(b"X-Chatwoot-Signature"))
        return OK if fits and abs(time.time() - int(stamp)) <= 300 else REFUSED


async def test_what_is_replayed_an_hour_later_is_let_in_if_it_is_signed_anew(
    tmp_path: Path,
) -> None:
    """A client's, with the channel's secret, and a forward's with its own; edited ones, too."""
    async with AsyncExitStack() as stack:
        relay = await stack.enter_async_context(
            open_relay(tmp_path / "relay", forward_allow="127.0.0.1")
        )
        ana, forwarded = [await stack.enter_async_context(open_target()) for _ in range(2)]
        Bot(ana), Bot(forwarded, "bot-secret")
        channel, mine = "channels/chatwoot", "channels/chatwoot/subscriptions/ana"
        policy = {"other_tries": 1}
        await relay.control("PATCH", channel, {"hmac_secrets": [SECRET], "policy": policy})
        # An hour ago, as far as its signature says: that is what a bot looks at.
        await relay.control("PATCH", channel, {"hmac_log_only": True})
        token = await relay.make_token("ana", "subscribe")
        await relay.connect(token, "--to", ana.address)
        url = f"http://{forwarded.address}/webhook"
        await relay.control("POST", "forwards", {"channel": "chatwoot", "url": url})
        fields = headers(
            BODY,
            timestamp=round(time.time()) - HOUR_S,
            authorization=f"Bearer {relay.send_token}",
        )
        event = (await relay.send(webhook("/webhook", BODY, fields))).json["id"]
        await relay.becomes(mine, dead=1)
        await relay.becomes("forwards/chatwoot/forward", dead=1)

        async def replayed() -> None:
            await relay.control("POST", "replays", {"selection": {"events": [event]}})

        await relay.control("PATCH", mine, {"resign": True})
        own = {"resign_secret": "bot-secret"}
        shown = await relay.control("PATCH", "forwards/chatwoot/forward", own)
        await replayed()
        await relay.becomes(mine, dead=0)
        await relay.becomes("forwards/chatwoot/forward", dead=0)
        for target in (ana, forwarded):
            before, after = target.arrivals[0], target.arrivals[-1]
            assert after.body == before.body == BODY
            original = after.header(b"Relay-Original-X-Chatwoot-Signature")
            assert original == before.header(b"X-Chatwoot-Signature")
            assert after.header(b"Relay-Replay") == b"1"
        assert "bot-secret" not in json.dumps(shown)

        edited = base64.b64encode(b'{"event":"edited"}').decode()
        asked = {"based_on": event, "subscription": "ana", "body_base64": edited}
        made = await relay.control("POST", "events", asked)
        await ana.received(3)
        assert ana.arrivals[-1].event_id == made["id"]
        await relay.becomes(mine, dead=0, backlog=0)

        code, said, _ = relay.command(
            *("subscription", "set", "chatwoot", "ana", "--no-resign", "--json")
        )
        assert (code, json.loads(said)["resign"]) == (0, False)
        await replayed()
        await relay.becomes(mine, dead=1)
