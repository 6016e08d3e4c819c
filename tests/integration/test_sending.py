"""Webhooks sent from the laptop, and what became of them: `relay-client send` and `wait`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from relay_client.errors import NotDelivered, TimedOut
from tests.support import chatwoot
from tests.support.processes import CLIENT, run
from tests.support.relay import Relay
from tests.support.target import BROKEN, OK, Arrival, Target, always
from tests.support.waiting import until_true


class Developer:
    """Somebody at a shell, whose token may read, and whose other one may send."""

    def __init__(self, relay: Relay, token: str) -> None:
        self.token = token
        self.environment: dict[str, str] = relay.client_environment(token)
        self.environment["RELAY_CLIENT_SEND_TOKEN"] = relay.send_token

    async def runs(self, *arguments: str, text: str = "") -> tuple[int, str, str]:
        done = await asyncio.to_thread(run, [CLIENT, *arguments], self.environment, text)
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout, done.stderr

    async def gets(self, *arguments: str, text: str = "") -> dict[str, Any]:
        """What a command answers that must succeed."""
        status, output, errors = await self.runs(*arguments, "--json", text=text)
        assert status == 0, errors
        return dict(json.loads(output))


@pytest.fixture
async def ana(relay: Relay, target: Target) -> Developer:
    """Her client is connected to the target."""
    token = await relay.make_token("ana", "subscribe")
    await relay.connect(token, "--to", target.address)
    return Developer(relay, token)


def fields(arrival: Arrival) -> Mapping[bytes, bytes]:
    return dict(arrival.headers)


async def test_a_sample_is_sent_as_chatwoot_would_and_awaited(
    relay: Relay, target: Target, ana: Developer
) -> None:
    await relay.said("channel", "set", "chatwoot", "--hmac-secret-file", secret(relay.folder))
    ana.environment["RELAY_CLIENT_WEBHOOK_SECRET"] = chatwoot.SECRET
    sent = await ana.gets("send", "message_created", "--signed", "--set", "content=Olá!")

    waited = await ana.gets("wait", "olá", "--since-cursor", sent["cursor"])

    assert waited == {"id": sent["id"], "state": "delivered", "status": 200, "attempt": 1}
    [arrival] = target.arrivals
    body = chatwoot.fixture("message_created_incoming")
    assert json.loads(arrival.body)["content"] == "Olá!"
    assert json.loads(body) | {"content": "Olá!"} == json.loads(arrival.body)
    named = [name.encode() for name, _ in chatwoot.headers(body)]
    expected = [name for name in named if name not in (b"Host", b"Content-Length")]
    assert [name for name, _ in arrival.headers if name in expected] == expected

    ana.environment["RELAY_CLIENT_WEBHOOK_SECRET"] = "another"
    status, _, errors = await ana.runs("send", "message_created", "--signed")
    assert (status, "the channel's secret" in errors) == (4, True), errors


async def test_what_came_before_the_wait_is_found_by_the_cursor_alone(
    target: Target, ana: Developer
) -> None:
    first = await ana.gets("send", "contact_created")
    await target.received(1)

    found = await ana.gets("wait", "--since-cursor", first["cursor"])
    by_id = await ana.gets("wait", first["id"][-8:])
    status, output, errors = await ana.runs("wait", "kind:contact_created", "--timeout", "1s")

    assert (found["id"], by_id["id"]) == (first["id"], first["id"])
    assert (status, output) == (TimedOut.exit_status, "")
    assert "no such event came within 1s" in errors


async def test_an_app_that_fails_is_told_apart_from_silence(
    relay: Relay, target: Target, ana: Developer
) -> None:
    await relay.said("channel", "set", "chatwoot", "--retry-delays", "1h")
    target.answer = always(BROKEN)
    sent = await ana.gets("send", "message_created")
    since = ("--since-cursor", sent["cursor"])

    status, output, errors = await ana.runs("wait", *since)
    assert (status, output) == (NotDelivered.exit_status, "")
    assert "the target answered 500" in errors
    assert (await ana.gets("wait", *since, "--status", "5XX"))["status"] == 500
    assert (await ana.runs("wait", *since, "--status", "server error"))[0] == 2
    assert (await ana.runs("wait", *since, "--timeout", "soon"))[0] == 2
    assert (await ana.runs("wait", "--since-cursor", "yesterday"))[0] == 2


async def test_an_event_and_a_pin_are_sent_again_as_new_ones(
    relay: Relay, target: Target, ana: Developer
) -> None:
    body = chatwoot.fixture("message_created_template")
    raw = chatwoot.webhook("/webhook/x?a=%2F", body, signed_by(relay, body))
    first = (await relay.send(raw)).json["id"]
    await relay.control("PUT", f"pins/{first}", {"name": "hello"})

    again = await ana.gets("send", "@hello")
    await target.received(2)

    old, new = target.arrivals
    assert (old.event_id, new.event_id) == (first, again["id"])
    assert (new.body, new.request_target) == (old.body, old.request_target)
    assert fields(new)[b"X-Chatwoot-Delivery"] != fields(old)[b"X-Chatwoot-Delivery"]
    assert b"X-Chatwoot-Signature" not in fields(new), "it fits no more"


async def test_who_may_not_send_is_told_so_and_sends_to_himself(
    relay: Relay, target: Target, ana: Developer, tmp_path: Path
) -> None:
    del ana.environment["RELAY_CLIENT_SEND_TOKEN"]
    file = tmp_path / "body.json"
    file.write_bytes(b'{"event":"x"}')

    status, output, errors = await ana.runs("send", str(file))
    assert (status, output) == (4, "")
    assert "the token ana may not send to chatwoot" in errors
    assert "--to-me" in errors
    sent = await ana.gets("send", "-", "--to-me", "--set", "a=1", text='{"event":"x"}')
    await target.received(1)
    waited = await ana.gets("wait", sent["id"])

    assert target.bodies == [b'{"event":"x","a":1}']
    assert waited["state"] == "delivered"
    assert await relay.events() == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["send"], "nothing says"),
        (["send", "nothing.json"], "cannot be read"),
        (["send", "contact_created", "--set", "x"], "PATH=VALUE"),
        (["send", "contact_created", "--set", "no.way=1"], "nothing at no"),
        (["send", "contact_created", "--signed"], "no secret"),
    ],
)
async def test_what_cannot_be_sent_is_a_usage_error(
    ana: Developer, arguments: list[str], said: str
) -> None:
    status, output, errors = await ana.runs(*arguments)
    assert (status, output, said in errors) == (2, "", True), errors


async def test_a_wait_goes_on_over_a_restart(relay: Relay, target: Target, ana: Developer) -> None:
    relay.client_constants.append(("relay_client.backoff", "LONGEST_S", 1.0))
    waiting = relay.begin_client(ana.token, "wait", "kind:contact_created", "--timeout", "60s")

    async def follows() -> bool:
        return "relay_feeds 1" in await relay.metrics()

    await until_true(follows)
    relay.server.kill()
    await relay.start()
    target.answer = always(OK)
    while waiting.alive:
        await relay.send(chatwoot.webhook("/webhook", b'{"event":"contact_created"}', plain(relay)))
        await asyncio.sleep(0.5)

    assert await waiting.exit_status() == 0
    assert "delivered 200" in waiting.output


def secret(folder: Path) -> str:
    file = folder / "secret"
    file.write_text(chatwoot.SECRET)
    return str(file)


def signed_by(relay: Relay, body: bytes) -> chatwoot.Headers:
    return chatwoot.headers(body, authorization=f"Bearer {relay.send_token}")


def plain(relay: Relay) -> chatwoot.Headers:
    body = b'{"event":"contact_created"}'
    return chatwoot.headers(body, signed=False, authorization=f"Bearer {relay.send_token}")
