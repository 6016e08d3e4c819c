"""The walk from the configuration to the target and back."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from relay_client import doctor
from relay_client.console import Console
from relay_client.doctor import CANARY_BODY, run_doctor
from relay_client.settings import ClientSettings, Configuration
from relay_protocol.messages import CloseCode
from tests.support.raw_target import raw_target
from tests.unit.client.support import TOKEN, FakeRelay, fake_relay

ALL = [
    "configuration",
    "relay",
    "token",
    "canary channel",
    "websocket",
    "ingest",
    "delivery",
    "target",
    "result",
    "clean-up",
]


async def examine(
    relay: FakeRelay | None, to: str = "", token: str = TOKEN
) -> tuple[int, list[dict[str, Any]]]:
    """Run it, and give the exit status and the steps."""
    values: dict[str, object] = {"to": to, "token": token}
    values["url"] = relay.url if relay is not None else "http://127.0.0.1:9"
    sources = dict.fromkeys(ClientSettings.model_fields, "flag")
    settings = ClientSettings.model_validate(values)
    out = io.StringIO()
    configuration = Configuration(settings, sources, Path(), colour=False)
    status = await run_doctor(configuration, Console(out, io.StringIO()), as_json=True)
    whole = json.loads(out.getvalue())
    assert whole["ok"] is (status == 0)
    return status, whole["steps"]


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
    assert "answered 200" in steps[7]["detail"]


async def test_any_answer_of_the_target_is_an_answer() -> None:
    """A bot may not know the canary."""
    async with fake_relay() as relay, raw_target() as target:
        target.answer = b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"
        status, steps = await examine(relay, f"127.0.0.1:{target.port}")

    assert status == 0
    assert "answered 404" in steps[7]["detail"]


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
        ("_CONNECT_S", {"handshake_status": 502}, 3, "websocket", "502"),  # as of a proxy
        ("_ARRIVE_S", {"canary_comes": False}, 1, "delivery", "did not come"),
        ("_RECORDED_S", {"canary_records": False}, 1, "result", "did not record"),
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
    monkeypatch.setattr(doctor, constant, 0.2)
    async with fake_relay() as relay:
        for name, value in trouble.items():
            setattr(relay, name, value)
        got, steps = await examine(relay)

    assert (got, failed(steps)) == (status, [step])
    assert said in steps[-2]["detail"]


async def test_people_get_a_line_a_step_and_what_to_do() -> None:
    """As it happens."""
    out = io.StringIO()
    settings = ClientSettings.model_validate({"url": "http://127.0.0.1:9", "token": TOKEN})
    sources = dict.fromkeys(ClientSettings.model_fields, "environment")
    configuration = Configuration(settings, sources, Path(), colour=False)

    status = await run_doctor(configuration, Console(out, io.StringIO()), as_json=False)

    lines = out.getvalue().splitlines()
    assert status == 3
    assert lines[0].startswith("ok      configuration  url from the environment")
    assert lines[1].startswith("FAILED  relay")
    assert lines[2].strip().startswith("→ Check the URL")
