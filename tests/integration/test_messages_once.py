"""One message by three webhooks of a Chatwoot: a bot with `--once` hears of it once."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.chatwoot import SECRET, fixture, headers, webhook
from tests.support.relay import Relay, open_relay
from tests.support.target import open_target

CREATED, UPDATED = fixture("message_created_incoming"), fixture("message_updated")
MINE = "channels/chatwoot/subscriptions/ana"


async def tell(relay: Relay, body: bytes, times: int) -> str:
    """Send it under delivery ids of its own each time; the id of the last event."""
    ids = [
        (
            await relay.send(
                webhook("/webhook", body, headers(body, authorization=f"Bearer {relay.send_token}"))
            )
        ).json["id"]
        for _ in range(times)
    ]
    return str(ids[-1])


async def test_a_bot_hears_of_each_message_once_also_after_a_restart(tmp_path: Path) -> None:
    async with open_target() as bot, open_relay(tmp_path / "relay") as relay:

        async def only_once() -> None:
            await relay.becomes(MINE, backlog=0)
            assert [arrival.body for arrival in bot.arrivals] == [CREATED, UPDATED]

        await relay.control("PATCH", "channels/chatwoot", {"hmac_secrets": [SECRET]})
        await relay.connect(await relay.make_token("ana", "subscribe"), "--to", bot.address)
        code, said, _ = relay.command("subscription", "set", "chatwoot", "ana", "--once")
        assert code == 0
        assert "delivered once" in said
        last = await tell(relay, CREATED, 3)
        await tell(relay, UPDATED, 2)
        await only_once()
        _, said, _ = relay.command("events", "show", last, "--json")
        [delivery] = json.loads(said)["deliveries"]
        assert delivery["state"] == "skipped"
        assert delivery["reason"].startswith("the same message as evt_")

        relay.server.kill()
        await relay.start()
        await tell(relay, CREATED, 1)
        await only_once()
