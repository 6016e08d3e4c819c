"""Options in other words than the API's, and what makes no sense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from relay_server.cli.command import command as make_command
from relay_server.cli.options import (
    Json,
    moment,
    read_delays,
    read_headers,
    read_secret,
    read_size,
)
from relay_server.configs import ChannelConfig, ForwardConfig, Policy
from relay_server.errors import InvalidValue
from tests.unit.server.commanding import Run, answer


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("5", 5),
        ("1k", 1_024),
        ("500M", 524_288_000),
        ("2G", 2_147_483_648),
        ("1T", 2**40),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert read_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "1.5G", "-1", "5MB", "²", "1 G", "9" * 16])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(InvalidValue, match="500M"):
        read_size(text)


@pytest.mark.parametrize("text", ["", "5", "5s,", "5s;30s", "never"])
def test_delays_that_cannot_be_read(text: str) -> None:
    with pytest.raises(InvalidValue, match="--retry-delays"):
        read_delays(text)


@pytest.mark.parametrize("content", [b"", b" \n", b"x" * 1_025, b"\xff"])
def test_a_secret_file_that_holds_none(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content)
    for path in (file, tmp_path / "none", tmp_path):
        with pytest.raises(InvalidValue, match=str(path)):
            read_secret(path)


def test_a_header_s_value_is_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("Bearer FIXTURE\n")
    assert read_headers([f"Authorization={file}", ""]) == {"Authorization": "Bearer FIXTURE"}
    for wrong in ("Authorization", "Authorization=", f"X={tmp_path / 'missing'}"):
        with pytest.raises(InvalidValue):
            read_headers([wrong])


def test_times() -> None:
    assert moment(None, "--since") is None
    assert moment("beginning", "--since") == 0
    assert moment("2026-07-02T14:00:10Z", "--until") == 1_783_000_810_000
    assert (moment("now", "--since") or 0) > 1_700_000_000_000
    with pytest.raises(InvalidValue, match="--since") as wrong:
        moment("yesterday", "--since")
    assert "2h" in wrong.value.hint


def given(line: str, **configs: Any) -> Json:
    """What a command with an option for each setting hands on."""
    app, found = typer.Typer(), list[Json]()

    @make_command(app, "set", found.append, emptying=True, **configs)
    def set_rules(rules: Json) -> Json:
        return rules

    CliRunner().invoke(app, line.split(), catch_exceptions=False)
    return found[0]


@pytest.mark.parametrize(
    ("config", "line", "rules"),
    [
        (ChannelConfig, "", {}),
        (ChannelConfig, "--sender other --no-token", {"sender": "other", "token": False}),
        (ChannelConfig, "--max-body-bytes 0 --max-bytes 0 --rate-per-s 0", "nothing"),
        (ChannelConfig, "--max-bytes 2G --hmac-enforce", {"max_bytes": 2**31, "hmac_log_only": 0}),
        (ChannelConfig, "--allow-from ::1 --allow-from=", {"allow_from": ["::1"]}),
        (ChannelConfig, "--no-hmac", {"hmac_secrets": []}),
        (Policy, "--no-strict-order --hold-s 0", {"strict_order": False, "hold_s": 0}),
        (Policy, "--retry-delays 5s,30s,2m", {"retry_delays_s": [5, 30, 120]}),
        (Policy, "--retry-delays none", {"retry_delays_s": []}),
        (ForwardConfig, "--url http://b/ --timeout 5", {"url": "http://b/", "timeout_s": 5}),
        (ForwardConfig, "--no-headers", {"headers": {}}),
    ],
)
def test_what_was_given_alone_is_handed_on(config: Any, line: str, rules: Any) -> None:
    if rules == "nothing":  # 0 is no limit
        rules = {"max_body_bytes": None, "max_bytes": None, "rate_per_s": None}
    assert given(line, rules=config) == rules


def test_what_is_asked_before_it_is_done(command: Run) -> None:
    answer(command("init", "--json"))
    answer(command("forward", "create", "chatwoot", "http://bot:8001/", "--json"))
    for line in ("forward delete chatwoot forward", "dead discard --all"):
        status, out, err = command(*line.split(), text="n\n")
        assert (status, out.strip()) == (1, ""), line
        assert "[y/N]" in err
    assert len(answer(command("forward", "list", "--json"))["forwards"]) == 1
    assert command("forward", "delete", "chatwoot", "forward", text="y\n")[0] == 0
    assert answer(command("forward", "list", "--json"))["forwards"] == []


@pytest.mark.parametrize(
    "line",
    [
        "dead replay",
        "dead replay evt_1 --all",
        "dead discard --yes",
        "subscription set chatwoot ana --like-channel --hold-s 5",
        "replays stop x",
        "replays stop 0",
        "token create x",
        "forward create chatwoot http://bot:8001/ --url http://bot:8002/",
    ],
)
def test_what_makes_no_sense_is_wrong_usage(command: Run, line: str) -> None:
    assert command(*line.split())[:2] == (2, "")


@pytest.mark.parametrize(
    ("line", "status", "said"),
    [
        ("channel set chatwoot --rate-per-s nan", 1, "no numbers"),
        ("channel set chatwoot --hold-s inf", 1, "no numbers"),
        ("replay", 2, "--all"),
        ("events list --limit x", 2, "must be a whole number"),
        ("audit list --limit 0", 2, "must be at least 1"),
        ("token create x --scope sent", 1, "--scope: must be send, subscribe or admin"),
        ("channel create c --sender foo", 1, "--sender: must be chatwoot"),
    ],
)
def test_what_is_no_number_or_nothing_is_said_in_words(
    command: Run, line: str, status: int, said: str
) -> None:
    """Not in those of a JSON parser, nor in those of the API or of what reads the options."""
    assert command("init")[0] == 0
    found, _, errors = command(*line.split())
    assert found == status
    assert said in errors
    assert not any(word in errors for word in ("JSON", "$.", "Input should", "parse"))
