"""A conversation's page: what answers what, what waits for what, and where one stands in time."""

from __future__ import annotations

from contextvars import copy_context

import pytest

from relay_server.bodies.talk import Message, State
from relay_server.dashboard.chat import Moments, Row, moments_beside, rows_of, transcript
from relay_server.operations.conversations import Talk, TalkLine
from relay_server.operations.events import AttemptLine, DeliveryLine
from relay_terminal.words import speak


def line(number: int, by: str = "", state: str = "delivered", *, reply_to: str = "") -> TalkLine:
    """An event, a second after the one before; what somebody said in it, and what ana got of it."""
    message = Message(
        message=str(number),
        direction=by,
        name="",
        private=False,
        content=f"says {number}",
        in_reply_to=reply_to,
    )
    return TalkLine(
        event=f"evt_{number}",
        sequence=number,
        received_at=1_000 * number,
        kind="message_created",
        message=message if by else None,
        deliveries=[DeliveryLine("bia", "pending"), DeliveryLine("ana", state, 1)],
        attempts=[AttemptLine("ana", None, 1, 1_000 * number, 5, "response", 200, "")],
    )


def talk(*lines: TalkLine, since: int | None = None) -> Talk:
    return Talk(
        channel="chatwoot",
        key="2/318",
        state=State(),
        lines=list(lines),
        unanswered_since=since,
        moments=[],
        before=None,
        complete=True,
    )


def answers(rows: list[Row]) -> list[tuple[str, int | None, bool]]:
    return [(row.answers, row.reply_ms, row.says_so) for row in rows]


def test_the_first_answer_behind_a_message_is_to_it() -> None:
    rows = rows_of(talk(line(1, "customer"), line(2), line(3, "bot"), line(4, "agent")), "ana")
    assert answers(rows) == [("", None, False)] * 2 + [("evt_1", 2_000, False), ("", None, False)]


def test_an_answer_that_names_its_message_is_to_that_one() -> None:
    rows = rows_of(
        talk(line(1, "customer"), line(2, "customer"), line(3, "bot", reply_to="1")), "ana"
    )
    assert answers(rows)[2] == ("evt_1", 1_000, True)


def test_the_last_message_of_a_customer_who_waits_has_no_reply_yet() -> None:
    lines = line(1, "customer"), line(2, "bot"), line(3, "customer"), line(4, "customer")
    rows = rows_of(talk(*lines, since=3_000), "ana")
    assert [row.waits for row in rows] == [False, False, False, True]


def test_what_fails_holds_those_behind_it() -> None:
    states = ["delivered", "waiting", "pending", "pending"]
    rows = rows_of(talk(*[line(n, "", state) for n, state in enumerate(states)]), "ana")
    assert [row.holds for row in rows] == [0, 2, 0, 0]
    assert [row.behind for row in rows] == [False, False, True, True]


def test_what_nobody_has_begun_holds_nothing() -> None:
    rows = rows_of(talk(line(1, "", "pending"), line(2, "", "pending")), "ana")
    assert not any(row.holds or row.behind for row in rows)


def test_each_subscription_has_deliveries_of_its_own() -> None:
    [row] = rows_of(talk(line(1)), "ana")
    assert row.own is not None
    assert row.last is not None
    assert (row.own.state, row.last.elapsed_ms) == ("delivered", 5)
    assert [one.subscription for one in row.others] == ["bia"]
    [row] = rows_of(talk(line(1)), "nobody")
    assert (row.own, row.last, len(row.others)) == (None, None, 2)


@pytest.mark.parametrize(
    ("as_of", "expected"),
    [
        (0, Moments(0, 20, None)),
        (30, Moments(0, 20, None)),
        (99, Moments(0, 20, None)),
        (20, Moments(20, 10, 0)),
        (25, Moments(25, 10, 0)),
        (10, Moments(10, None, 20)),
        (5, Moments(5, None, 10)),
    ],
)
def test_the_moments_beside_one(as_of: int, expected: Moments) -> None:
    assert moments_beside([10, 20, 30], as_of) == expected


def test_a_transcript_has_a_line_for_each_message_and_shows_what_cannot_be_seen() -> None:
    said = line(1, "customer")
    assert said.message is not None
    said.message.name, said.message.attachments = "João\u202e", ["image"]
    assert transcript(talk(said, line(2))) == (
        "1970-01-01 00:00:01Z João⟨U+202E⟩: [image] says 1\n"
    )


def test_a_message_of_many_lines_says_nothing_for_others() -> None:
    said = line(1, "customer")
    assert said.message is not None
    said.message.content = "oi\n1970-01-01 00:00:02Z bot: de graça"

    def in_portuguese() -> str:
        speak("pt-BR")
        return transcript(talk(said))

    assert copy_context().run(in_portuguese) == (
        "1970-01-01 00:00:01Z cliente: oi\n    1970-01-01 00:00:02Z bot: de graça\n"
    )
