"""What Chatwoot's other versions, inboxes and plans send is read like the samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from relay_server.channels import identify
from relay_server.configs import ChannelConfig
from relay_server.filters.facts import facts_of, is_secret
from tests.support.chatwoot import NAMES

FOLDER = Path(__file__).parents[3] / "relay_client" / "chatwoot" / "testing" / "shapes"
INDEX: dict[str, dict[str, Any]] = json.loads((FOLDER / "index.json").read_bytes())


def body_of(name: str) -> bytes:
    return (FOLDER / f"{name}.json").read_bytes()


def test_each_is_in_the_index_and_no_sample() -> None:
    files = {file.stem for file in FOLDER.glob("*.json")} - {"index"}
    assert files == set(INDEX)
    assert files.isdisjoint(NAMES)


@pytest.mark.parametrize("name", INDEX)
def test_a_shape_has_its_key_its_kind_and_who_is_behind_it(name: str) -> None:
    """From bytes as Rails writes them: one line, and no `<`, `>` or `&` as it is."""
    raw = body_of(name)
    assert not set(b"<>&\n") & set(raw)
    body = msgspec.json.decode(raw)

    key, kind = identify(ChannelConfig(), raw)
    facts = facts_of(kind, key, body)

    assert (key, kind) == (INDEX[name]["key"], body["event"])
    assert facts.direction == INDEX[name]["direction"]
    assert facts.account == ("" if kind == "account_created" else "2")


def test_secrets_of_an_inbox_are_known_as_such() -> None:
    channel = json.loads(body_of("inbox_updated_whatsapp"))["channel"]
    names = [*channel, *channel["provider_config"]]
    assert [name for name in names if is_secret(name)] == [
        *("business_management_token", "api_key", "webhook_verify_token")
    ]
