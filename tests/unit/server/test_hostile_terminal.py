"""Words of senders and clients on the terminal of who runs the server."""

from __future__ import annotations

import contextlib
import io
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay_protocol.text import ZERO_WIDTH_JOINER
from tests.support.senders import handshake, request
from tests.unit.server.asking import Asking, append
from tests.unit.server.support import Served
from tests.unit.server.test_show import EVENT, RESULTS

words = st.one_of(
    st.text(max_size=40),
    st.lists(
        st.sampled_from(
            [
                "\x1b[2J",
                "\x1b]52;c;ZXZpbA==\x07",
                "\x1b]8;;https://evil.example\x1b\\x",
                "\x9b31m",
                "\u202e",
                "\u2066",
                "\r\n",
                "\x00",
                "\ud800",
                "\U000e0041",
                "[link=http://evil.example]",
                "[/]",
                "\\[bold]",
                "漢",
                "a",
            ]
        ),
        min_size=1,
        max_size=6,
    ).map("".join),
)


def told(value: Any, text: str) -> Any:
    """A copy in which every text of others ends in this one."""
    match value:
        case str():
            return value + text
        case dict():
            return {k: v if k == "state" else told(v, text) for k, v in value.items()}
        case list():
            return [told(item, text) for item in value]
        case _:
            return value


def printed(name: str, result: Any) -> str:
    render, _ = RESULTS[name]
    out = io.StringIO()
    with contextlib.redirect_stdout(out), patch.dict("os.environ", {"COLUMNS": "80"}):
        render(result)
    return out.getvalue()


def is_harmless(text: str) -> bool:
    return all(c.isprintable() or c in ("\n", ZERO_WIDTH_JOINER) for c in text)


@given(st.sampled_from(sorted(RESULTS)), words)
@settings(max_examples=200, deadline=None)
def test_no_result_steers_the_terminal(name: str, text: str) -> None:
    """Whatever is in any text of it."""
    shown = printed(name, told(RESULTS[name][1], text))
    assert shown
    assert is_harmless(shown), repr(shown)


@given(st.one_of(words, st.none()))
@settings(max_examples=100, deadline=None)
def test_no_body_steers_the_terminal(body: str | None) -> None:
    """As it is shown with its event."""
    assert is_harmless(printed("event", EVENT | {"body": body}))


async def test_answers_of_the_api_are_json_and_nothing_else(served: Served, admin: Asking) -> None:
    """A browser that is led there takes them for no page, whatever a sender wrote."""
    event = await append(served, kind="<script>alert(1)</script>", body=b"<script>")
    answers = [
        await admin("GET", "events"),
        await admin("GET", f"events/{event}"),
        await admin("GET", "<script>"),
        await admin("GET", "events/<script>"),
        await admin("POST", "channels", {"name": "<script>"}),
        await Asking(served, "rly_wrong")("GET", "whoami"),
        await served.send(handshake("rly_wrong")),
        await served.send(request("/nowhere", method="GET")),
    ]
    assert {answer.status for answer in answers} >= {200, 401, 404}
    for answer in answers:
        headers = {name.lower(): value for name, value in answer.headers}
        assert headers["content-type"].partition(";")[0] == "application/json"
        assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("host", ["\x1b[2J\x1b]0;x\x07", "\u202e" * 9, "a\r\nb"])
def test_a_clients_own_name_is_harmless_in_status(host: str) -> None:
    """It is the client that says what its machine is called."""
    assert is_harmless(printed("status", told(RESULTS["status"][1], host)))
