"""The JSON API's scripts: who gets them with secrets, and that this is noted."""

from __future__ import annotations

import gzip

import pytest

from relay_server.bodies.inflating import MAX_INFLATED_BYTES
from relay_server.bodies.scripts import Language
from relay_server.errors import InvalidValue
from relay_server.operations import Caller
from relay_server.operations.bodies import body_to_keep
from relay_server.operations.scripts import (
    MAX_SCRIPT_BYTES,
    ScriptPage,
    show_conversation_test,
    show_script,
)
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


async def test_what_came_compressed_is_masked_before_it_is_handed_out(
    served: Served, admin: Asking
) -> None:
    await served.configure(mask=("/phone",))
    whole = b'{"api_key": "s3cret", "phone": "555", "n": 1.50}'
    coding = ((b"Content-Type", b"application/json"), (b"content-encoding", b"gzip"))
    head = request("/webhook", coding)
    event = await append(served, body=gzip.compress(whole), head=head)
    plain = await append(served, body=(as_came := gzip.compress(b'{"n": 1}')), head=head)

    script = await admin.ok("GET", f"events/{event}/as/curl")
    assert script["masked"]
    assert '{"api_key":"•••","phone":"•••","n":1.50}' in script["text"]
    assert "gzip" not in script["text"]
    assert (await admin("GET", f"events/{event}/body")).body == (
        '{"api_key":"s3cret","phone":"•••","n":1.50}'.encode()
    )
    shown = await body_to_keep(Caller(served.context), event)
    assert shown.body == '{"api_key":"•••","phone":"•••","n":1.50}'.encode()
    assert "gzip" in (await admin.ok("GET", f"events/{plain}/as/curl"))["text"]
    assert (await body_to_keep(Caller(served.context), plain)).body == as_came

    await served.configure(mask=())
    large = await append(served, body=gzip.compress(b"0" * MAX_INFLATED_BYTES), head=head)
    who = Caller(served.context)
    for asked in (body_to_keep(who, large), show_script(who, large, "curl", ScriptPage())):
        with pytest.raises(InvalidValue, match="too many to be looked through"):
            await asked
