"""A relay that seals what it stores: as any other from outside, nothing to read in its folder."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from tests.support.relay import open_relay
from tests.support.senders import request
from tests.support.stores import shows
from tests.support.target import Target

KEY = base64.b64encode(b"k" * 32).decode()
WORDS = "João perdeu o cartão 🎉"
BODY = json.dumps({"event": "message_created", "content": WORDS}, ensure_ascii=False).encode()


async def test_a_killed_relay_delivers_what_it_sealed_and_its_folder_shows_no_word(
    tmp_path: Path, target: Target
) -> None:
    key = tmp_path / "bodies.key"
    key.write_text(f"{KEY}\n")
    async with open_relay(tmp_path / "relay", body_keys_file=str(key)) as relay:
        token = await relay.make_token("ana", "subscribe")
        client = await relay.connect(token, "--to", target.address)
        client.kill()
        stored = await relay.send(request(body=BODY, token=relay.send_token))
        assert stored.status == 200
        found = await relay.said("events", "list", "cartao")
        assert [event["id"] for event in found["events"]] == [stored.json["id"]], "without an index"
        relay.server.kill()
        assert shows(relay.data_dir, "perdeu o cartão".encode()) == []
        rebuilt = await relay.said("store", "rebuild")
        assert rebuilt["bytes_after"] > 0

        key.write_text(base64.b64encode(b"l" * 32).decode())
        said = await relay.refused("serve")
        assert "sealed with a key that is missing" in said
        assert "RELAY_SERVER_BODY_KEYS_FILE" in said
        assert KEY[:20] not in said

        key.write_text(KEY)
        await relay.start()
        await relay.connect(token, "--to", target.address)
        await target.received(1)
        assert target.bodies == [BODY]
        assert KEY not in relay.server.output + relay.server.errors
