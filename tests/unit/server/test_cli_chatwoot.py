"""`relay-server chatwoot` and `doctor`: what they ask, show and answer."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay_client.chatwoot.testing import FakeChatwoot, open_chatwoot
from relay_server.chatwoot.checks import Reached, of_readers, of_traffic, of_way
from relay_server.values import LOOPS
from tests.unit.server.asking import Json
from tests.unit.server.commanding import Run, answer

RELAY = ("--relay-url", "http://127.0.0.1:1")


@pytest.fixture
def fake() -> Iterator[FakeChatwoot]:
    """A Chatwoot beside the commands, which have event loops of their own."""
    started, made, loop = threading.Event(), list[FakeChatwoot](), asyncio.new_event_loop()
    ended = asyncio.Event()

    async def serve() -> None:
        async with open_chatwoot() as chatwoot:
            made.append(chatwoot)
            started.set()
            await ended.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    started.wait()
    yield made[0]
    loop.call_soon_threadsafe(ended.set)
    thread.join()
    loop.close()


@pytest.fixture
def where(fake: FakeChatwoot, tmp_path: Path) -> tuple[str, ...]:
    """The options that say which Chatwoot."""
    file = tmp_path / "token"
    file.write_text(fake.ADMIN + "\n")
    return "--url", fake.url, "--account", "2", "--token-file", str(file), *RELAY


def test_a_webhook_comes_and_goes_by_command(
    command: Run, fake: FakeChatwoot, where: tuple[str, ...]
) -> None:
    """What would be done is shown, and asked for; what is done is told; then there is nothing."""
    command("init")
    install = ("chatwoot", "install", *where, "--private-address")
    known = ("--token-file", where[5], *RELAY)

    status, out, _err = command(*install, "--dry-run")
    assert (status, fake.changes) == (0, []), _err
    assert "make the account's webhook to http://127.0.0.1:1/webhook" in out

    status, _out, err = command(*install, text="n\n")
    assert (status, fake.changes) == (1, [])
    assert "Do these 3 steps? [y/N]" in err

    status, out, _err = command(*install, "--yes")
    assert (status, out.splitlines()[0]) == (0, "Done:")
    assert fake.ADMIN not in out
    assert next(iter(fake.webhooks.values()))["secret"] not in out
    assert command(*install)[:2] == (0, "Nothing to do: everything is as it should be.\n")

    found = answer(command("chatwoot", "status", *known, "--json"))
    assert [one["code"] for one in found["findings"] if one["ok"] is False] == []
    assert (
        "the channel knows the secret of account webhook"
        in command("chatwoot", "status", *known)[1]
    )

    done = answer(command("chatwoot", "rotate", *known, "--yes", "--json"))
    assert [one["step"] for one in done["steps"]][-1] == "webhook.delete"
    assert command("chatwoot", "uninstall", *known, "--yes")[0] == 0
    assert fake.webhooks == {}


def test_what_a_command_lacks(command: Run, where: tuple[str, ...]) -> None:
    """It is said at once; the token is never an argument."""
    command("init")
    said = {
        "which Chatwoot?": ("--token-file", where[5], *RELAY),
        "where does Chatwoot reach the relay?": where[:6],
        "nobody is here to type the access token": (*where[:4], *RELAY),
    }
    for error, options in said.items():
        status, _out, err = command("chatwoot", "install", *options)
        assert (status, error in err) == (1, True), err


def test_the_doctor_names_the_cause_first(
    command: Run, fake: FakeChatwoot, where: tuple[str, ...]
) -> None:
    """It looks from the server outwards; what does not run is told before what follows from it."""
    command("init")
    command("chatwoot", "install", *where, "--private-address", "--yes")
    next(iter(fake.webhooks.values()))["secret"] = "another"

    status, out, _err = command("doctor", "--chatwoot", "--token-file", where[5], *RELAY, "--json")
    steps = json.loads(out)["steps"]
    failed = [one["name"] for one in steps if one["ok"] is False]
    assert (status, failed) == (1, ["server", "reachable", "secret"])
    assert all(one["hint"] for one in steps if one["ok"] is False)

    _status, out, _err = command("doctor", *RELAY)
    assert out.startswith("FAILED  server")


@pytest.mark.parametrize(
    ("reached", "found"),
    [
        ((), [("dns", False)]),
        ((Reached("203.0.113.9", 0.02),), [("reachable", True)]),
        ((Reached("203.0.113.9", 3.0),), [("slow", None)]),
        (
            (Reached("203.0.113.9", 0.02), Reached("2001:db8::9", failure="refused")),
            [("reachable", True), ("reachable", False)],
        ),
    ],
)
def test_each_address_of_the_relay(
    reached: tuple[Reached, ...], found: list[tuple[str, bool | None]]
) -> None:
    """One of two that leads elsewhere loses half of the webhooks."""
    findings = of_way("https://relay.example.com", reached)
    assert [(one.code, one.ok) for one in findings] == found


def written(*times: int) -> list[Json]:
    return [{"key": "2/318", "received_at": at} for at in times]


@pytest.mark.parametrize(
    ("messages", "codes"),
    [
        (written(0, 4_000, 8_000), ["loop"]),
        (written(0, 8_000, 16_000), []),
        (written(0, 1_000), []),
    ],
)
def test_a_bot_that_answers_itself(messages: list[Json], codes: list[str]) -> None:
    assert [one.code for one in of_traffic([], messages, 1)] == codes


def test_what_readers_suffer_from() -> None:
    well: Json = {"channel": "chatwoot", "name": "ana", "forward": False}
    well |= {"paused": "", "told_twice": []}
    ill = [well, well | {"paused": LOOPS}, well | {"told_twice": ["evt_1", "evt_2"]}]
    ill += [ill[1] | {"forward": True, "name": "bot"}]
    assert [
        (one.code, one.cost != "", one.remedy.partition(": ")[2]) for one in of_readers(ill)
    ] == [
        ("paused", True, "relay-server subscription resume chatwoot ana"),
        ("twice", True, "relay-server subscription set chatwoot ana --once"),
        ("paused", True, "relay-server forward resume chatwoot bot"),
    ]


def test_what_was_refused_since_the_last_webhook() -> None:
    group = {"says": "", "reason": "no token", "fix": "put one in", "count": 2, "last_at": 5}
    assert [one.code for one in of_traffic([group], [], 4)] == ["refused"]
    assert [one.code for one in of_traffic([group], [], 6)] == []
    assert [one.code for one in of_traffic([], [], None)] == ["traffic"]
