"""The JSON API's scripts: who gets them with secrets, and that this is noted."""

from __future__ import annotations

import pytest

from relay_server.bodies.scripts import Language
from relay_server.operations import Caller
from relay_server.operations.scripts import MAX_SCRIPT_BYTES, show_conversation_test
from tests.support.events import request
from tests.unit.server.asking import Asking, append
from tests.unit.server.support import Served

SECRET = (b"Authorization", b"Bearer s3cret")


@pytest.fixture
async def event(served: Served) -> str:
    return await append(served, body=b'{"api_key": "s3cret"}', head=request(headers=(SECRET,)))


@pytest.mark.parametrize("language", Language)
async def test_secrets_are_masked_unless_an_administrator_asks(
    served: Served, admin: Asking, ana: Asking, event: str, language: str
) -> None:
    path = f"events/{event}/as/{language}"
    masked = await ana.ok("GET", path)
    whole = await admin.ok("GET", f"{path}?secrets=1")

    assert (masked["id"], masked["language"], masked["masked"]) == (event, language, True)
    assert "s3cret" not in masked["text"]
    assert (whole["masked"], whole["text"].count("s3cret")) == (False, 2)
    assert await ana.refused("GET", f"{path}?secrets=1") == (403, "forbidden")
    [noted] = (await admin.ok("GET", "audit"))["entries"]
    assert (noted["action"], noted["what"]) == ("secrets.show", f"{event}/{language}")


async def test_what_no_script_is_made_of(served: Served, ana: Asking, event: str) -> None:
    other, large = await append(served, "other"), await append(served, body=b"x" * 1_048_577)
    assert await ana.refused("GET", f"events/{event}/as/perl") == (422, "invalid_value")
    assert await ana.refused("GET", f"events/{other}/as/curl") == (404, "event_not_found")
    assert await ana.refused("GET", f"events/{large}/as/curl") == (422, "invalid_value")
    latin = await append(served, head=request(headers=((b"X", b"\xe9"),)))
    assert await ana.refused("GET", f"events/{latin}/as/httpie") == (422, "invalid_value")


async def test_a_conversation_is_a_test_without_what_is_too_large(
    served: Served, admin: Asking
) -> None:
    half = MAX_SCRIPT_BYTES // 2
    sizes = [8, half, MAX_SCRIPT_BYTES + 1, 8, half]
    ids = [await append(served, body=b"x" * size, key="7") for size in sizes]

    made = await show_conversation_test(Caller(served.context), "chatwoot", "7")

    text = made.body.decode()
    assert f"Too large for this file: {ids[2]}, {ids[1]}. Each has" in text
    assert "newest of its webhooks" not in text
    assert [text.count(repr(one)) for one in ids] == [1, 0, 0, 1, 1]
