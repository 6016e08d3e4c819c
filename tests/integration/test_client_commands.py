"""`relay-client`'s commands against a relay that runs."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.chatwoot import message
from tests.support.processes import CLIENT, run
from tests.support.relay import Relay
from tests.support.target import BROKEN, OK, Arrival, Target
from tests.support.waiting import until

STEPS = [
    "configuration",
    "relay",
    "token",
    "clocks",
    "connections",
    "status",
    "subscription",
    "feed",
    "canary channel",
    "websocket",
    "ingest",
    "delivery",
    "target",
    "result",
    "clean-up",
]


async def test_doctor_walks_all_the_way_and_leaves_nothing_behind(
    relay: Relay, target: Target
) -> None:
    token = await relay.make_token("ana", "subscribe", "chatwoot")

    doctor = relay.begin_client(token, "doctor", "--to", target.address, "--json")

    assert await doctor.exit_status() == 0
    report = json.loads(doctor.output)
    assert [(step["name"], step["ok"]) for step in report["steps"]] == [(s, True) for s in STEPS]
    assert len(target.arrivals) == 1
    channels = (await relay.control("GET", "channels"))["channels"]
    assert [channel["name"] for channel in channels] == ["chatwoot"]


async def test_login_keeps_a_token_that_works(relay: Relay, tmp_path: Path) -> None:
    token = await relay.make_token("ana", "subscribe", "chatwoot")
    environment = {"RELAY_CLIENT_CONFIG_DIR": str(tmp_path / "config")}

    def command(*arguments: str, text: str = "") -> tuple[int, str, str]:
        done = run([CLIENT, *arguments], environment, text)
        return done.returncode, done.stdout, done.stderr

    assert command("login", relay.url, text="rly_wrong\n")[0] == 4
    assert command("login", relay.url, text=f"{relay.send_token}\n")[0] == 1, "it may only send"
    assert command("login", "http://127.0.0.1:1", text=f"{token}\n")[0] == 3
    assert command("whoami")[0] == 2, "nothing is kept of those"
    status, output, _ = command("login", relay.url, text=f"{token}\n")
    assert (status, "relay-client connect" in output) == (0, True)
    [file] = (tmp_path / "config").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600

    status, output, _ = command("whoami", "--json")
    assert (status, token in output) == (0, False)
    assert json.loads(output)["name"] == "ana"
    assert json.loads(output)["settings"]["token"]["source"] == "saved login"
    channels = json.loads(command("channels", "--json")[1])["channels"]
    assert [channel["name"] for channel in channels] == ["chatwoot"]
    for name in ("channels", "status", "whoami"):
        assert command(name)[0] == 0

    assert command("logout")[0] == 0
    assert list((tmp_path / "config").glob("login.json")) == []


async def test_the_terminal_shows_each_webhook_and_each_failure(
    relay: Relay, target: Target
) -> None:
    async def answer(arrival: Arrival) -> bytes:
        return BROKEN.replace(b"6", b"6\r\nRetry-After: 1", 1) if arrival.attempt == 1 else OK

    target.answer = answer
    token = await relay.make_token("ana", "subscribe")
    client = relay.begin_client(token, "connect", "--to", target.address, "--output", "pretty")
    await until(lambda: "Connected to" in client.output)

    await relay.send(message(relay.send_token, 152, 1))
    await until(lambda: client.output.count("\n") == 4)
    status, output, _ = relay.client_command(token, "status", "--json")

    header, route, failed, delivered = client.output.splitlines()
    assert header == f"Connected to {relay.url} as ana"
    assert route.strip() == f"chatwoot → http://{target.address}"
    for part in ("message_created", "#152", "500", "ms", "the relay tries again"):
        assert part in failed
    assert "200" in delivered
    assert "attempt 2" in delivered
    [subscription] = json.loads(output)["subscriptions"]
    assert (status, subscription["name"], subscription["connected"]) == (0, "ana", True)
