"""The walk from the configuration to the target and back."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import pytest

from relay_client import __version__
from relay_client.doctor import canary, run_doctor
from relay_client.doctor.canary import CANARY_BODY
from relay_client.lifetimes import Lifetimes
from relay_client.settings import ClientSettings, Configuration
from relay_protocol.messages import CloseCode
from relay_terminal.console import Console
from tests.support.raw_target import raw_target
from tests.unit.client.support import TOKEN, FakeRelay, fake_relay

ALL = [
    "configuration",
    "relay",
    "token",
    "clocks",
    "connections",
    "status",
    "subscription",
    "canary channel",
    "websocket",
    "ingest",
    "delivery",
    "target",
    "result",
    "clean-up",
]


STATUS = {
    "version": __version__,
    "channels": [{"name": "chatwoot"}],
    "subscriptions": [{"channel": "chatwoot", "name": "ana", "backlog": 2}],
}


async def examine(
    relay: FakeRelay | None, to: str = "", token: str = TOKEN
) -> tuple[int, list[dict[str, Any]]]:
    """Run it, and give the exit status and the steps."""
    values: dict[str, object] = {"to": to, "token": token, "state_dir": "/nonexistent"}
    if relay is not None:
        relay.answers.setdefault("GET /api/v1/status", STATUS)
    values["url"] = relay.url if relay is not None else "http://127.0.0.1:9"
    sources = dict.fromkeys(ClientSettings.declared(), "flag")
    settings = ClientSettings.read(values)
    out = io.StringIO()
    configuration = Configuration(settings, sources, Path(), colour=False)
    status = await run_doctor(configuration, Console(out, io.StringIO()), as_json=True)
    whole = json.loads(out.getvalue())
    assert whole["ok"] is (status == 0)
    return status, whole["steps"]


def found(steps: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """The step of a name."""
    [step] = [step for step in steps if step["name"] == name]
    return step


def failed(steps: list[dict[str, Any]]) -> list[str]:
    """The names of steps that failed."""
    return [step["name"] for step in steps if step["ok"] is False]


async def test_a_healthy_way_is_walked_to_the_end() -> None:
    """The target gets the canary, and its answer is named."""
    async with fake_relay() as relay, raw_target() as target:
        status, steps = await examine(relay, f"127.0.0.1:{target.port}")

    assert status == 0
    assert [step["name"] for step in steps] == ALL
    assert all(step["ok"] for step in steps)
    assert target.requests[0].endswith(b"\r\n\r\n" + CANARY_BODY)
    assert "answered 200" in found(steps, "target")["detail"]


@pytest.mark.parametrize(
    ("answered", "hint"),
    [
        (301, "redirects are not followed"),
        (401, "a login of its own"),
        (404, "--to HOST:PORT/path"),
        (410, "pauses the subscription"),
        (422, "may not know the event"),
        (500, "see its log"),
    ],
)
async def test_an_answer_that_is_no_2xx_is_a_warning(answered: int, hint: str) -> None:
    """A bot may not know the canary."""
    async with fake_relay() as relay, raw_target() as target:
        target.answer = b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % answered
        status, steps = await examine(relay, f"127.0.0.1:{target.port}")

    step = found(steps, "target")
    assert (status, step["ok"], step["warning"]) == (0, True, True)
    assert f"answered {answered}" in step["detail"]
    assert hint in step["hint"]


async def test_what_is_paused_or_skewed_fails_and_the_rest_is_told() -> None:
    """The walk goes on: each is told, and the first failure is the cause."""
    async with fake_relay() as relay:
        relay.date = "Thu, 02 Jul 2026 14:00:10 GMT"
        paused = {"channel": "chatwoot", "name": "ana", "paused": "by hand"}
        relay.answers["GET /api/v1/status"] = {**STATUS, "subscriptions": [paused]}
        status, steps = await examine(relay)

    assert (status, failed(steps)) == (1, ["clocks", "subscription"])
    assert steps[-1]["name"] == "clean-up"


@pytest.mark.parametrize("version", ["0.0.9", "99.0"])
async def test_a_relay_of_another_version_is_said_to_be_one(version: str) -> None:
    """And everything is tried all the same."""
    async with fake_relay() as relay:
        relay.whoami["server_version"] = version
        status, steps = await examine(relay)

    assert (status, found(steps, "version")["warning"]) == (0, True)


async def test_a_token_that_may_only_send_is_what_fails() -> None:
    async with fake_relay() as relay:
        relay.whoami |= {"name": "chatwoot", "scopes": ["send"]}
        status, steps = await examine(relay)

    assert (status, failed(steps)) == (4, ["token"])
    assert found(steps, "token")["detail"] == "the token chatwoot may only send"


async def test_a_client_that_was_cut_again_and_again_remembers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fake_relay() as relay:
        for _ in range(3):
            Lifetimes(tmp_path, relay.url, time.time).cut(30.0)
        monkeypatch.setattr(Configuration, "state_folder", tmp_path)
        status, steps = await examine(relay)

    assert (status, failed(steps)) == (1, ["connections"])
    assert "lasts 30 s: a proxy" in found(steps, "connections")["detail"]


async def test_a_stream_that_comes_late_is_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary, "LATE_S", -1.0)
    async with fake_relay() as relay:
        status, steps = await examine(relay)

    assert (status, failed(steps)) == (1, ["delivery"])
    assert "holds the stream back" in found(steps, "delivery")["detail"]


async def test_a_narrow_screen_breaks_between_words(tmp_path: Path) -> None:
    out = io.StringIO()
    settings = ClientSettings.read(
        {"url": "http://127.0.0.1:9", "token": TOKEN, "state_dir": tmp_path}
    )
    sources = dict.fromkeys(ClientSettings.declared(), "environment")
    configuration = Configuration(settings, sources, Path(), colour=False)
    await run_doctor(configuration, Console(out, io.StringIO(), cells=60), as_json=False)
    assert max(map(len, out.getvalue().splitlines())) <= 60


async def test_without_a_target_that_step_is_left_out() -> None:
    """And said to be."""
    async with fake_relay() as relay:
        status, steps = await examine(relay)

    assert status == 0
    assert [step["name"] for step in steps if step["ok"] is None] == ["target"]


async def test_a_target_that_is_down_is_what_fails() -> None:
    """The canary channel is removed all the same."""
    async with fake_relay() as relay:
        async with raw_target() as target:
            port = target.port
        status, steps = await examine(relay, f"127.0.0.1:{port}")

    assert status == 1
    assert failed(steps) == ["target"]
    assert "Start your app" in steps[-2]["hint"]
    assert steps[-1]["name"] == "clean-up"


async def test_the_first_failure_has_its_exit_status() -> None:
    """Nothing is looked at after it."""
    async with fake_relay() as relay:
        refused = await examine(relay, token="wrong")
        unset = await examine(relay, "nonsense")
        relay.refusal = (CloseCode.CHANNEL_REFUSED, "channel_refused", "not for you")
        closed = await examine(relay)
    away = await examine(None)

    assert [(status, failed(steps)) for status, steps in (refused, unset, closed, away)] == [
        (4, ["token"]),
        (2, ["configuration"]),
        (4, ["websocket"]),
        (3, ["relay"]),
    ]


@pytest.mark.parametrize(
    ("constant", "trouble", "status", "step", "said"),
    [
        ("CONNECT_S", {"handshake_status": 502}, 3, "websocket", "502"),  # as of a proxy
        ("ARRIVE_S", {"canary_comes": False}, 1, "delivery", "did not send"),
        ("RECORDED_S", {"canary_records": False}, 1, "result", "did not record"),
    ],
)
async def test_what_does_not_happen_within_a_while_fails(
    constant: str,
    trouble: dict[str, Any],
    status: int,
    step: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(canary, constant, 0.2)
    async with fake_relay() as relay:
        for name, value in trouble.items():
            setattr(relay, name, value)
        got, steps = await examine(relay)

    assert (got, failed(steps)) == (status, [step])
    assert said in steps[-2]["detail"]


async def test_people_get_a_line_a_step_and_what_to_do() -> None:
    """As it happens."""
    out = io.StringIO()
    settings = ClientSettings.read({"url": "http://127.0.0.1:9", "token": TOKEN})
    sources = dict.fromkeys(ClientSettings.declared(), "environment")
    configuration = Configuration(settings, sources, Path(), colour=False)

    status = await run_doctor(configuration, Console(out, io.StringIO()), as_json=False)

    lines = out.getvalue().splitlines()
    assert status == 3
    assert lines[0].startswith("ok      configuration  url from the environment")
    assert lines[1].startswith("FAILED  relay")
    assert lines[2].strip().startswith("-> Check the URL")
