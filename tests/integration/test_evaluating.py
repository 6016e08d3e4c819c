"""`relay-client bot evaluate`: a new bot asked about conversations that a relay has."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from relay_client import samples
from tests.support.relay import Relay
from tests.support.senders import request

REPLIES = """
async def new(talk):
    await talk.label("cake")
    return f"{len(talk.chat())} lines, the last: {talk.text}"

async def old(talk):
    talk.hand_over("the old one knows nothing")
"""


@pytest.fixture
async def token(relay: Relay) -> str:
    return await relay.make_token("ana", "subscribe")


@pytest.fixture
def replies(tmp_path: Path) -> Path:
    file = tmp_path / "replies.py"
    file.write_text(REPLIES)
    return file


async def send(relay: Relay, id_: int, content: str, **fields: Any) -> None:
    body = json.loads(samples.read("agent_bot_message_created")) | {"id": id_, "content": content}
    sent = request("/webhook", json.dumps(body | fields).encode(), token=relay.send_token)
    assert (await relay.send(sent)).status == 200


async def evaluate(relay: Relay, token: str, *arguments: str) -> tuple[int, str, str]:
    return await asyncio.to_thread(relay.client_command, token, "bot", "evaluate", *arguments)


async def test_replies_stand_beside_what_was_answered_then(
    relay: Relay, token: str, replies: Path
) -> None:
    for id_, content in ((1, "Tem bolo?"), (2, "De fubá")):
        await send(relay, id_, content)
    robot = {"id": 9, "type": "agent_bot"}
    await send(relay, 3, "Tem \x1b[31msim!", message_type="outgoing", sender=robot)
    await relay.send(request("/webhook", b"no JSON", token=relay.send_token))

    both = (f"{replies}:new", f"{replies}:old")
    status, output, errors = await evaluate(relay, token, *both)
    assert status == 0, errors
    heading, *said, empty, end = output.splitlines()
    assert heading == "#318  João Gonçalves da Conceição"
    assert [line.split(maxsplit=1)[1] for line in said] == [
        "Tem bolo?",
        "De fubá",
        "Tem \ufffd[31msim!",
        "#318 would label: cake; 1 lines, the last: Tem bolo? De fubá",
        "(people go on: the old one knows nothing)",
    ]
    assert len({len(line) - len(line.split(maxsplit=1)[1]) for line in said}) == 1  # a column
    assert (empty, end) == ("", "1 turn; nothing was sent.")

    status, output, _ = await evaluate(relay, token, *both, "--json", "--filter", "bolo")
    [turn] = json.loads(output)["turns"]
    assert (turn["asked"], turn["then"]) == (["Tem bolo?"], [])
    assert turn["now"][both[0]]["text"] == "1 lines, the last: Tem bolo?"


async def test_where_nobody_waited_for_the_bot_there_is_nothing_to_say(
    relay: Relay, token: str, replies: Path
) -> None:
    await send(relay, 1, "a note", private=True)
    status, output, errors = await evaluate(relay, token, f"{replies}:new")
    assert (status, output) == (6, "")
    assert "no customer waited" in errors
