"""`relay-server events`: found by filters, followed as they come, and given byte for byte."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess

from tests.support.chatwoot import message
from tests.support.processes import SERVER, clean_environment
from tests.support.relay import Relay
from tests.support.senders import request
from tests.support.target import BROKEN, Target, always
from tests.support.waiting import until, until_true

BODY = "\x00\x1b[31mnão\r\n".encode() + b"\xff"


async def test_events_are_found_shown_and_saved(relay: Relay) -> None:
    for n in (1, 2):
        await relay.send(message(relay.send_token, 318, n))
    other = (await relay.send(request("/webhook/x?y=1", BODY, token=relay.send_token))).json["id"]

    async def listed(*arguments: str) -> list[int]:
        found = await relay.said("events", "list", *arguments)
        return [event["sequence"] for event in found["events"]]

    assert await listed() == [3, 2, 1]
    assert await listed("--conversation", "318", "--limit", "1") == [2]
    assert await listed("--kind", "message_created", "--since", "2h", "--before", "2") == [1]
    assert await listed("--state", "DELIVERED") == []
    assert await listed("--until", "2h") == []
    assert await listed("conv:318") == await listed("--filter", "conv:318") == [2, 1]

    show = [SERVER, "events", "show", other[-8:]]
    environment = clean_environment(relay.environment)
    body = await asyncio.to_thread(
        subprocess.run, [*show, "--body"], env=environment, capture_output=True
    )
    raw = await asyncio.to_thread(
        subprocess.run, [*show, "--raw"], env=environment, capture_output=True
    )
    assert (body.returncode, body.stdout) == (0, BODY)
    assert raw.stdout.startswith(b"POST /webhook/x?y=1 HTTP/1.1\r\n")
    assert raw.stdout.endswith(b"\r\n\r\n" + BODY)
    script = await asyncio.to_thread(relay.command, "events", "save", other, "--as", "CURL")
    assert (script[0], "curl" in script[1]) == (0, True)


async def test_events_are_followed_until_somebody_interrupts(relay: Relay) -> None:
    command: list[str | object] = [SERVER, "events", "list", "kind:message_*", "--follow", "--json"]
    following = relay._start(command, "follow", relay.environment)  # type: ignore[arg-type]

    async def seen() -> bool:
        await relay.send(message(relay.send_token, 318, 1))
        return bool(following.output)

    await until_true(seen)  # those before it listened are none of its own
    await relay.send(request("/webhook", b"{}", token=relay.send_token))
    await relay.send(message(relay.send_token, 318, 9))
    await until(lambda: len(following.output.splitlines()) >= 2)
    before = len(following.output.splitlines())
    relay.server.terminate()
    await relay.server.exit_status()
    await relay.start()
    await relay.send(message(relay.send_token, 318, 10))  # it may come before it is followed again
    await until(lambda: len(following.output.splitlines()) > before)
    following.process.send_signal(signal.SIGINT)
    assert await following.exit_status() == 0
    told = [json.loads(line) for line in following.output.splitlines()]
    assert {(one["type"], one["kind"]) for one in told} == {("event", "message_created")}
    assert following.errors == "The server is away. Trying again.\nThe server is back.\n"
    said = await relay.refused("events", "list", "--follow", "--before", "3", status=2)
    assert "--follow goes with no" in said


async def test_what_becomes_of_events_is_followed_too(relay: Relay, target: Target) -> None:
    """For every subscription, and told as the client tells it."""
    target.answer = always(BROKEN)
    await relay.said("channel", "set", "chatwoot", "--retry-delays", "none")
    token = await relay.make_token("ana", "subscribe")
    await relay.connect(token, "--to", target.address)
    command: list[str | object] = [SERVER, "events", "list", "--follow"]
    following = relay._start(command, "follow", relay.environment)  # type: ignore[arg-type]

    async def follows() -> bool:
        return "relay_feeds 1" in await relay.metrics()

    await until_true(follows)
    id_ = (await relay.send(message(relay.send_token, 318, 1))).json["id"]
    await until(lambda: "->" in following.output)
    came, became = following.output.splitlines()
    assert f"1  {id_[-8:]}" in came
    assert became == f"1  {id_[-8:]}  -> ana: dead 500: the target answered 500"
