"""An event's page: its body in parts, what of it is open, and which event answers it."""

from __future__ import annotations

import pytest

from relay_server.dashboard.event import HEX_SHOWN, SHOWN_RAW, raw_page, reply_among
from relay_server.filters.facts import Facts
from relay_server.operations.events import EventRow


@pytest.mark.parametrize("text", ["", "a", "é" * SHOWN_RAW, "x" + "€" * SHOWN_RAW, "a" * 200_000])
def test_a_text_is_whole_in_its_pages_and_they_lead_to_each_other(text: str) -> None:
    content, parts = text.encode(), list[str]()
    at: int | None = 0
    while at is not None:
        page = raw_page(content, at)
        parts.append(page.text)
        assert len(page.text.encode()) <= SHOWN_RAW + 2
        assert (page.before is None) is (at == 0)
        at = page.next
    assert "".join(parts) == text
    assert len(parts) <= max(1, -(-len(content) // SHOWN_RAW))


def test_what_is_no_text_is_dumped_in_parts() -> None:
    content = bytes(range(256)) * 20
    first = raw_page(content, 0)
    assert first.next == HEX_SHOWN
    assert first.text.splitlines()[1].startswith("000010  10 11 12")
    last = raw_page(content, HEX_SHOWN)
    assert (last.before, last.next, last.size) == (0, None, 5_120)
    assert len(first.text.splitlines() + last.text.splitlines()) == 5_120 // 16


@pytest.mark.parametrize("number", [1, 2, 5, 3 * SHOWN_RAW])
def test_what_only_goes_on_with_characters_is_no_text(number: int) -> None:
    page = raw_page(b"\x80" * number, 0)
    assert page.text.startswith("000000  80")
    assert page.next == (HEX_SHOWN if number > HEX_SHOWN else None)


def test_behind_the_end_there_is_nothing() -> None:
    assert raw_page(b"abc", 1_000).text == ""


def row(sequence: int, direction: str, *, private: bool = False) -> EventRow:
    facts = Facts(kind="message_created", direction=direction, private=private)
    place = (f"evt_{sequence}", "chatwoot", sequence, 0, "message_created", "2/318")
    return EventRow(*place, "POST", "/", 0, False, facts, (), "", False)


def test_a_customers_message_is_answered_by_the_first_that_the_customer_sees() -> None:
    events = [
        row(1, "bot"),
        row(2, "customer"),
        row(3, "agent", private=True),
        row(4, "customer"),
        row(5, "bot"),
        row(6, "agent"),
    ]
    answers = [reply_among(events, one.sequence) for one in events]
    assert [one.sequence if one else 0 for one in answers] == [0, 5, 0, 5, 0, 0]
