"""The client's session and what it is given to remember by; pauses that a target asks for."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from relay_protocol.client_session import ClientEffect, ClientSession, Paused
from relay_protocol.finished import REMEMBERED_RESULTS, FinishedInMemory
from relay_protocol.messages import Granted, Result, Welcome
from relay_protocol.values import Delivery, Response
from tests.support.events import BROKEN, OK, delivery
from tests.support.links import deliver, hello, open_client, reopen, welcome

GONE = Response(410)
SAID = Paused("chatwoot", "ana", "the target answered 410")


class Notebook:
    """Answers as it is told to, and notes how it was used."""

    def __init__(self, *known: Delivery) -> None:
        self.known = {(one.id, one.event.id) for one in known}
        self.opened: list[Sequence[Granted]] = []
        self.asked: list[tuple[str, str, int]] = []
        self.added: list[tuple[Delivery, Response]] = []

    def open(self, granted: Sequence[Granted]) -> None:
        self.opened.append(granted)

    def find(self, delivery_id: str, event_id: str, attempt: int) -> Response | None:
        self.asked.append((delivery_id, event_id, attempt))
        return Response(204) if (delivery_id, event_id) in self.known else None

    def add(self, delivery: Delivery, response: Response) -> None:
        self.added.append((delivery, response))


def session_with(notebook: Notebook) -> ClientSession:
    session = ClientSession(hello(), 8, finished=notebook)
    reopen(session)
    return session


def give(session: ClientSession, *deliveries: Delivery) -> list[ClientEffect]:
    return [e for d in deliveries for e in session.receive(deliver(d), 0.0)]


def pauses(effects: list[ClientEffect]) -> list[ClientEffect]:
    return [e for e in effects if isinstance(e, Paused)]


# What is remembered


def test_what_is_known_is_answered_without_a_post() -> None:
    notebook = Notebook(delivery(1))
    session = session_with(notebook)

    assert give(session, delivery(1, attempt=3)) == [Result("1.1", Response(204))]
    assert give(session, delivery(2)) == [delivery(2)]
    assert notebook.asked == [("1.1", "evt_000000000001", 3), ("1.2", "evt_000000000002", 1)]


def test_only_what_the_target_took_is_remembered() -> None:
    notebook = Notebook()
    session = session_with(notebook)
    give(session, delivery(1), delivery(2), delivery(3))

    session.finished(delivery(1), BROKEN)
    session.finished(delivery(2), OK)
    session.finished(delivery(3), GONE)

    assert notebook.added == [(delivery(2), OK)]


def test_each_welcome_says_whose_deliveries_come() -> None:
    notebook = Notebook()
    session = session_with(notebook)
    reopen(session)

    assert notebook.opened == [welcome().subscriptions] * 2


def test_each_answer_too_many_costs_the_oldest_one() -> None:
    memory = FinishedInMemory()
    for n in range(REMEMBERED_RESULTS):
        memory.remember((f"0.{n}", "evt"), Response(202))

    memory.add(delivery(1), Response(200, body=b"x", elapsed_ms=5))

    known = [memory.find(f"0.{n}", "evt", 1) for n in range(REMEMBERED_RESULTS)]
    assert known == [None, *[Response(202)] * (REMEMBERED_RESULTS - 1)]
    assert memory.find("1.1", "evt_000000000001", 1) == Response(200, elapsed_ms=5)


# A target that wants no more


def test_a_410_is_said_once_and_its_result_sent() -> None:
    session = open_client()
    give(session, delivery(1), delivery(2))

    assert session.finished(delivery(1), GONE) == [SAID, Result("1.1", GONE)]
    assert pauses(session.finished(delivery(2), GONE)) == []


def test_a_410_after_somebody_resumed_it_is_said_again() -> None:
    session = open_client()
    give(session, delivery(1))
    session.finished(delivery(1), GONE)

    give(session, delivery(2))

    assert pauses(session.finished(delivery(2), GONE)) == [SAID]


def test_a_410_of_what_the_relay_had_sent_before_it_knew_is_not_said_again() -> None:
    session = open_client()
    give(session, delivery(1), delivery(2))
    session.finished(delivery(1), GONE)

    give(session, delivery(3))

    assert pauses(session.finished(delivery(3), GONE)) == []


def test_a_410_after_somebody_resumed_it_is_said_again_whatever_another_channel_does() -> None:
    session = open_client("chatwoot", "b")
    give(session, delivery(1, subscription=2, channel="b"), delivery(1))
    session.finished(delivery(1), GONE)

    give(session, delivery(2))

    assert pauses(session.finished(delivery(2), GONE)) == [SAID]


@pytest.mark.parametrize(("paused", "said"), [("", [SAID]), ("the target answered 410", [])])
def test_a_410_is_said_to_a_later_connection_unless_its_welcome_did(
    paused: str, said: list[ClientEffect]
) -> None:
    session = open_client()
    give(session, delivery(1))
    session.disconnected()
    session.connected(0.0)
    [granted] = welcome().subscriptions
    session.receive(Welcome("1.0", 1, (replace(granted, paused=paused),)), 0.0)

    assert pauses(session.finished(delivery(1), GONE)) == said


def test_a_410_of_one_channel_says_nothing_of_another() -> None:
    session = open_client("a", "b")
    other = delivery(1, subscription=2, channel="b")
    give(session, delivery(1, channel="a"), other)

    assert pauses(session.finished(other, GONE)) == [Paused("b", "ana", "the target answered 410")]


def test_a_410_while_away_is_not_known_to_the_relay_yet() -> None:
    session = open_client()
    give(session, delivery(1))
    session.disconnected()

    assert session.finished(delivery(1), GONE) == []


def test_a_welcome_to_a_paused_subscription_says_so() -> None:
    session = ClientSession(hello(), 8)
    session.connected(0.0)
    [granted] = welcome().subscriptions
    paused = Welcome("1.0", 1, (replace(granted, paused="the target answered 410"),))

    assert session.receive(paused, 0.0) == [paused, SAID]
