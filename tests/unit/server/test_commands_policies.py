"""What commands make of policies, sizes, headers and times, before anything is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from relay_server.commands.channels import channel_fields
from relay_server.commands.forwards import forward_fields
from relay_server.commands.policies import policy_fields, read_size
from relay_server.commands.replays import selection
from relay_server.errors import InvalidValue


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


def test_a_policy_holds_what_was_given_alone() -> None:
    assert policy_fields(None, other_tries=None, strict_order=False) == {"strict_order": False}
    assert policy_fields("5s, 30s,2m", hold_s=0.0) == {
        "retry_delays_s": [5, 30, 120],
        "hold_s": 0,
    }
    assert policy_fields("none") == {"retry_delays_s": []}


@pytest.mark.parametrize("text", ["", "5", "5s,", "5s;30s", "never"])
def test_delays_that_cannot_be_read(text: str) -> None:
    with pytest.raises(InvalidValue, match="--retry-delays"):
        policy_fields(text)


def test_no_limit_by_size_and_no_policy() -> None:
    fields = channel_fields(
        hmac_secret_files=None, max_body_bytes=None, allow_from=None, max_bytes="0", policy={}
    )
    assert fields == {"max_bytes": None}


def test_a_header_s_value_is_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("Bearer FIXTURE\n")
    fields = forward_fields(header_files=[f"Authorization={file}"], url=None, since="now")
    assert fields == {"headers": {"Authorization": "Bearer FIXTURE"}}
    assert forward_fields(header_files=[], since="beginning") == {"headers": {}, "since": 0}
    for wrong in ("Authorization", "Authorization=", f"X={tmp_path / 'missing'}"):
        with pytest.raises(InvalidValue):
            forward_fields(header_files=[wrong])


def test_a_selection_holds_what_was_given_alone() -> None:
    given = selection(
        events=[], since="beginning", until="2026-07-02T14:00:10Z", key="42", dead=False, text=None
    )
    assert selection(events=["evt_1"], since=None, until=None, key="") == {
        "events": ["evt_1"],
        "key": "",
    }
    assert given == {"received_from": 0, "received_before": 1_783_000_810_000, "key": "42"}
    with pytest.raises(InvalidValue, match="--since") as wrong:
        selection(events=[], since="yesterday", until=None)
    assert "2h" in wrong.value.hint
