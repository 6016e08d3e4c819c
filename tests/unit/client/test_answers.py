"""Answers of what may be no relay at all: an error that is said, and nothing that steers."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from relay_client import commands, refusals, replays
from relay_client.api import Api
from relay_client.console import Console
from relay_client.errors import ExitStatus, RelayProblem, TokenRefused, UsageError
from relay_client.relay import Relay
from relay_client.settings import ClientSettings, Configuration
from tests.unit.client.support import REPLAY, TOKEN, fake_relay

SOURCES = dict.fromkeys(ClientSettings.model_fields, "default")
STEERING = "\x1b]0;owned\x07"
CHANNEL = {"name": "chatwoot", "webhook_path": "/webhook", "sender_auth": [], "retention_days": 7}
STATUS = {
    "version": "1.0",
    "uptime_s": 5,
    "channels": [{"name": "chatwoot", "events": 1, "full_percent": 1.5, "last_received_at": 7}],
    "subscriptions": [
        {"channel": "chatwoot", "name": "ana", "backlog": 1, "dead": 0, "readers": 2}
    ],
}

Run = Callable[[Configuration, Console], Coroutine[Any, Any, None]]


async def _list_replays(configuration: Configuration, console: Console) -> None:
    await replays.run_replays(None, configuration, console, as_json=False)


async def _replay(configuration: Configuration, console: Console) -> None:
    chosen = replays.selection(events=("evt_1",), since=None, until=None)
    await replays.run_replay(chosen, None, configuration, console, as_json=False)


async def _status(configuration: Configuration, console: Console) -> None:
    await commands.run_status(configuration, console, as_json=False)


async def _channels(configuration: Configuration, console: Console) -> None:
    await commands.run_channels(configuration, console, as_json=False)


COMMANDS: list[tuple[Run, str, dict[str, Any]]] = [
    (_list_replays, "GET /api/v1/replays", {"replays": [REPLAY]}),
    (_replay, "POST /api/v1/replays", {"replays": [REPLAY]}),
    (_status, "GET /api/v1/status", STATUS),
    (_channels, "GET /api/v1/channels", {"channels": [CHANNEL]}),
]


def bent(answer: Any) -> list[Any]:
    """The answer with one value of it replaced by a text that steers, in every way."""
    if isinstance(answer, dict):
        return [answer | {name: other} for name, value in answer.items() for other in bent(value)]
    if isinstance(answer, list):
        return [STEERING, *([other] for value in answer for other in bent(value))]
    return [STEERING, None, [], 10**30, {}]


@pytest.mark.parametrize(("run", "call", "answer"), COMMANDS)
async def test_no_answer_steers_the_terminal_or_ends_in_a_traceback(
    run: Run, call: str, answer: dict[str, Any]
) -> None:
    """What is there in the place of a number is not printed."""
    async with fake_relay() as relay:
        settings = ClientSettings.model_validate({"url": relay.url, "token": TOKEN})
        for other in [copy.deepcopy(answer), *bent(answer)]:
            relay.answers[call] = other
            console = Console(io.StringIO(), io.StringIO())
            with contextlib.suppress(RelayProblem):
                await run(Configuration(settings, SOURCES, Path(), colour=False), console)
            assert isinstance(console.out, io.StringIO)
            assert "\x1b" not in console.out.getvalue()
            assert "\x07" not in console.out.getvalue()


@pytest.mark.parametrize(
    ("given", "said"), [({}, "which events"), ({"all": True, "key": "4"}, "no other condition")]
)
def test_a_replay_of_nothing_in_particular_is_a_usage_error(
    given: dict[str, object], said: str
) -> None:
    """Said here, in words of this command: the relay knows no `--all`."""
    with pytest.raises(UsageError, match=said) as caught:
        replays.selection(events=(), since=None, until=None, **given)
    assert caught.value.exit_status is ExitStatus.USAGE
    assert "--all" in caught.value.hint


@pytest.mark.parametrize("rate", [float("nan"), float("inf")])
async def test_a_rate_is_a_number(rate: float) -> None:
    console = Console(io.StringIO(), io.StringIO())
    settings = ClientSettings.model_validate({"url": "http://127.0.0.1:9", "token": TOKEN})
    whole = Configuration(settings, SOURCES, Path(), colour=False)
    with pytest.raises(UsageError, match="--rate-per-s"):
        await replays.run_replay({"all": True}, rate, whole, console, as_json=False)


async def test_hints_name_commands_of_this_program() -> None:
    """Whoever has a laptop has no relay-server at hand."""
    refused = {"code": "replay_not_found", "message": "no", "hint": "relay-server replays list"}
    async with fake_relay() as relay:
        relay.refusals["DELETE /api/v1/replays/9"] = (404, refused)
        async with Api(Relay(relay.url, TOKEN)) as api:
            with pytest.raises(RelayProblem) as caught:
                await api.stop_replay(9)
    assert caught.value.hint == "relay-client replays lists the replays there are."


async def test_wrong_tokens_are_refused_alike_however_many_there_were() -> None:
    """After 20 of them the relay answers 429; a good one it lets in even then."""
    refused = {"code": "too_many_failures", "message": "not authorized"}
    async with fake_relay() as relay:
        relay.refusals["GET /api/v1/whoami"] = (429, refused)
        async with Api(Relay(relay.url, TOKEN)) as api:
            with pytest.raises(TokenRefused) as caught:
                await api.whoami()
    assert caught.value.exit_status is ExitStatus.TOKEN_REFUSED
    body = b'{"error": {"code": "too_many_failures"}}'
    assert isinstance(refusals.of_status(429, body), TokenRefused)
    assert isinstance(refusals.of_status(429, b"slow down"), refusals.Reason), "a proxy's"
