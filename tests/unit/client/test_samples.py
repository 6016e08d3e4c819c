"""Chatwoot's webhooks in the client's package."""

from __future__ import annotations

import re

import pytest

from relay_client import samples
from relay_client.errors import UsageError


def test_there_are_twenty_each_with_its_kind() -> None:
    known = samples.kinds()
    assert len(known) == 20
    assert known["macro_executed"] == "macro.executed"


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("message_created_template", "message_created_template"),
        ("message_created", "message_created_incoming"),
        ("conversation_resolved", "agent_bot_conversation_resolved"),
        ("macro.executed", "macro_executed"),
    ],
)
def test_a_kind_stands_for_its_plainest_sample(word: str, name: str) -> None:
    assert samples.named(word) == name


def test_a_slip_is_corrected() -> None:
    with pytest.raises(UsageError) as caught:
        samples.named("mesage_created")
    assert "message_created?" in caught.value.hint


def test_they_are_signed_as_the_page_says() -> None:
    page = (samples.FOLDER / "README.md").read_text("utf-8")
    rows = re.findall(r"^\| (\w+) \| (\d+) \| (sha256=\w+) \|", page, re.MULTILINE)
    assert len(rows) == 6
    for name, size, signature in rows:
        body = samples.read(name)
        signed = dict(samples.signature("FIXTUREwebhookSECRET0001", 1_783_000_810, body))
        assert (str(len(body)), signed["X-Chatwoot-Signature"]) == (size, signature)
