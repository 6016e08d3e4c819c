"""A relay that seals what it stores: as any other from outside, nothing to read in its folder."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from tests.support.relay import open_relay
from tests.support.senders import request
from tests.support.stores import shows
from tests.support.target import Target
from tests.support.waiting import until, until_true

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


async def test_a_relay_that_seals_later_shows_no_word_once_it_has_stopped(tmp_path: Path) -> None:
    """Nor of what its index knew."""
    folder = tmp_path / "relay"
    settings = folder / "data" / "settings.toml"
    settings.parent.mkdir(mode=0o700, parents=True)
    settings.write_text("seal_bodies = 'off'\n")
    async with open_relay(folder, body_keys=KEY) as relay:
        await relay.send(request(body=BODY, token=relay.send_token))

        async def indexed() -> bool:
            return "search.db-wal" in shows(relay.data_dir, b"perdeu")

        await until_true(indexed)
        relay.server.terminate()
        assert await relay.server.exit_status() == 0
        assert {"relay.db", "search.db"} <= set(shows(relay.data_dir, b"perdeu")), "the control"

        settings.unlink()
        await relay.start()
        await until(lambda: "all bodies are stored anew" in relay.server.errors)
        relay.server.terminate()
        assert await relay.server.exit_status() == 0
        assert shows(relay.data_dir, b"perdeu") == []
