"""Events on the laptop: listed, shown, saved, followed by `relay-client events`."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest

from tests.support.chatwoot import fixture, message
from tests.support.relay import Relay
from tests.support.senders import request
from tests.support.target import BROKEN, Target, always
from tests.support.waiting import until, until_true

HOSTILE = "\x1b]0;owned\x07\x9b31m\u202e"


@pytest.fixture
async def token(relay: Relay) -> str:
    return await relay.make_token("ana", "subscribe")


async def said(relay: Relay, token: str, *arguments: str) -> str:
    """What a command prints that must succeed."""
    status, output, errors = await asyncio.to_thread(relay.client_command, token, *arguments)
    assert status == 0, errors
    return output


async def refused(relay: Relay, token: str, status: int, *arguments: str) -> str:
    """What one says that must fail with a status, and prints nothing."""
    ended, output, errors = await asyncio.to_thread(relay.client_command, token, *arguments)
    assert (ended, output, "Traceback" in errors) == (status, "", False), (ended, output, errors)
    return errors


async def send(relay: Relay, body: bytes, target: str = "/webhook") -> str:
    """Post a webhook: the event's id."""
    return str((await relay.send(request(target, body, token=relay.send_token))).json["id"])


async def test_the_list_says_what_came_from_whom_and_what_became_of_it(
    relay: Relay, target: Target, token: str
) -> None:
    target.answer = always(BROKEN)
    await relay.said("channel", "set", "chatwoot", "--retry-delays", "none")
    await relay.connect(token, "--to", target.address)
    ids = [
        await send(relay, fixture("message_created_incoming")),
        await send(relay, b"no JSON", "/webhook/github?x=1"),
    ]
    await relay.becomes("channels/chatwoot/subscriptions/ana", dead=2)

    heading, other, incoming = (await said(relay, token, "events")).splitlines()
    assert heading.split()[0] == "ID"
    for part in (ids[0][-8:], "message_created", "#318", "João", "dead 500", "Olá, bom dia!"):
        assert part in incoming
    for part in (ids[1][-8:], "POST /webhook/github?x=1", "dead 500"):
        assert part in other

    listed = json.loads(await said(relay, token, "events", "list", "--json", "--limit", "1"))
    assert [event["id"] for event in listed["events"]] == [ids[1]]
    rest = await said(relay, token, "events", "list", "--before", str(listed["before"]))
    assert ids[0][-8:] in rest
    assert ids[1][-8:] not in rest
    assert ids[0][-8:] in await said(relay, token, "events", "list", "kind:message_*", "bom", "dia")
    options = ("--kind", "message_created", "--conversation", "318", "--state", "DEAD")
    assert ids[0][-8:] in (meant := await said(relay, token, "events", "list", *options))
    assert ids[1][-8:] not in meant
    assert "No event matches" in await said(relay, token, "events", "list", "kind:nothing")
    assert "unknown" in await refused(relay, token, 1, "events", "list", "is:wrong")


async def test_a_long_list_is_asked_for_in_pages(relay: Relay, token: str) -> None:
    for number in range(1, 13):
        await relay.send(message(relay.send_token, 1, number))
    listed = json.loads(
        await said(relay, token, "events", "list", "json.id:1", "--since", "1h", "--json")
    )

    assert [event["sequence"] for event in listed["events"]] == [1]
    assert listed["before"] is None


async def test_one_event_is_named_by_its_end_by_a_pin_or_as_the_latest(
    relay: Relay, token: str
) -> None:
    first, second = [await send(relay, fixture(n)) for n in ("macro_executed", "contact_created")]
    await relay.control("PUT", f"pins/{first}", {"name": "a-macro"})

    for name in (first, first[-8:], "@a-macro"):
        shown = json.loads(await said(relay, token, "events", "show", name, "--json"))
        assert shown["id"] == first, name
    assert second in await said(relay, token, "events", "show", "latest")
    for unknown in ("@nothing", "latest"):
        arguments = ("--channel", "empty") if unknown == "latest" else ()
        await relay.control("POST", "channels", {"name": "empty"}) if arguments else None
        await refused(relay, token, 6, "events", "show", unknown, *arguments)
    assert "relay-client events" in await refused(relay, token, 1, "events", "show", "ffffff1")


async def test_what_strangers_wrote_reaches_no_terminal(relay: Relay, token: str) -> None:
    name = json.dumps({"event": "message_created", "id": HOSTILE, "content": HOSTILE})
    body = json.loads(fixture("message_created_incoming"))
    body["content"] = body["sender"]["name"] = HOSTILE + "Olá"
    await send(relay, json.dumps(body, ensure_ascii=False).encode())
    await send(relay, name.encode(), "/webhook/%1b")
    event = await send(relay, HOSTILE.encode())

    for command in (["list"], ["show", "latest"], ["show", event], ["list", "--json"]):
        output = await said(relay, token, "events", *command)
        assert [char for char in output if not (char.isprintable() or char == "\n")] == []


async def test_a_body_is_saved_byte_for_byte(relay: Relay, token: str, tmp_path: Path) -> None:
    body = bytes(range(256)) * 8
    event, file = await send(relay, body), tmp_path / "saved"

    await said(relay, token, "events", "save", event[-8:], "--output", str(file))

    assert file.read_bytes() == body
    assert file.stat().st_mode & 0o777 == 0o600
    for form in ("curl", "httpie", "pytest", "json"):
        assert event in await said(relay, token, "events", "save", event, "--as", form)
    assert "body, curl" in await refused(relay, token, 2, "events", "save", event, "--as", "php")


async def test_following_misses_nothing_though_the_server_is_killed(
    relay: Relay, token: str
) -> None:
    relay.client_constants.append(("relay_client.backoff", "LONGEST_S", 1.0))
    begun = ("events", "follow", "--json", "--since-cursor", "chatwoot=0", "kind:message_created")
    follow = relay.begin_client(token, *begun)
    sent = [await send(relay, fixture("message_created_incoming"))]
    await until(lambda: len(follow.lines("event")) == 1)
    relay.server.kill()
    await relay.start()
    await send(relay, fixture("contact_created"))
    sent += [await send(relay, fixture("message_created_template")) for _ in range(3)]
    await until(lambda: len(follow.lines("event")) == 4)

    assert [line["id"] for line in follow.lines("event")] == sent
    assert follow.lines("event")[-1]["cursor"] == "chatwoot=5"
    assert "is back" in follow.errors
    follow.process.send_signal(signal.SIGINT)
    assert await follow.exit_status() == 0


async def test_what_becomes_of_events_is_followed_too(
    relay: Relay, target: Target, token: str
) -> None:
    """Of those that the filter means, and for one's own subscription."""
    target.answer = always(BROKEN)
    await relay.said("channel", "set", "chatwoot", "--retry-delays", "none")
    for name in ("ana", "another"):
        await relay.connect(token, "--to", target.address, "--as", name)
    follow = relay.begin_client(token, "events", "follow", "kind:message_created")
    as_json = relay.begin_client(token, "events", "follow", "--json")

    async def follow_both() -> bool:
        return "relay_feeds 2" in await relay.metrics()

    await until_true(follow_both)
    other = await send(relay, fixture("contact_created"))
    event = await send(relay, fixture("message_created_incoming"))
    await until(lambda: "->" in follow.output and len(as_json.lines("delivery")) == 2)

    came, became = follow.output.splitlines()
    assert f"{event[-8:]}  message_created" in came
    assert f"{event[-8:]}  -> dead 500: the target answered 500" in became
    told = {(line["event"], line["subscription"]) for line in as_json.lines("delivery")}
    assert told == {(other, "ana"), (event, "ana")}


async def test_more_than_a_feed_catches_up_on_is_followed_whole(relay: Relay, token: str) -> None:
    for number in range(520):
        await relay.send(message(relay.send_token, number, number))

    follow = relay.begin_client(token, "events", "follow", "--json", "--since-cursor", "chatwoot=0")
    await until(lambda: len(follow.lines("event")) == 520)

    assert [line["sequence"] for line in follow.lines("event")] == [*range(1, 521)]


async def test_a_token_that_is_revoked_ends_the_following(relay: Relay, token: str) -> None:
    follow = relay.begin_client(token, "events", "follow")

    async def follows() -> bool:
        return "relay_feeds 1" in await relay.metrics()

    await until_true(follows)
    await relay.control("DELETE", "tokens/ana")

    assert await follow.exit_status() == 4
