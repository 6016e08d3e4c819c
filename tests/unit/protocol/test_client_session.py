"""The client's half of a conversation, across connections."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_protocol.client_session import ClientEffect, ClientSession, Drained, Probe, State
from relay_protocol.codec import decode_server, encode, unpack_server
from relay_protocol.errors import ProtocolError
from relay_protocol.finished import REMEMBERED_RESULTS
from relay_protocol.limits import MAX_BODY_BYTES, WINDOW_BYTES
from relay_protocol.messages import (
    Chunk,
    Error,
    Goaway,
    Granted,
    Hello,
    Pause,
    Result,
    Resume,
    ServerMessage,
    Wanted,
    Working,
)
from relay_protocol.session import Close, Ping
from relay_protocol.values import Delivery, Failure, FailureKind, Response
from tests.support.bent_frames import OF_SERVER, frames
from tests.support.events import BROKEN, DOWN, LOST, OK, delivery, event_head
from tests.support.links import deliver, hello, open_client, reopen, welcome
from tests.support.tries import tries

MESSAGES: tuple[ServerMessage, ...] = (
    welcome(),
    deliver(delivery()),
    Chunk("1.1", b"", last=True),
    Goaway("restart", 2.0),
    Error("taken_over", "by desktop"),
)


def give(session: ClientSession, *deliveries: Delivery) -> list[ClientEffect]:
    """Deliver, whole."""
    return [e for d in deliveries for e in session.receive(deliver(d), 0.0)]


def results(effects: list[ClientEffect]) -> dict[str, object]:
    """Outcomes that are sent, by delivery."""
    return {e.delivery: e.outcome for e in effects if isinstance(e, Result)}


# What may follow what


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("state", State)
def test_a_message_out_of_turn_is_refused(state: State, message: ServerMessage) -> None:
    session = ClientSession(hello(), 8)
    if state is not State.OFFLINE:
        session.connected(0.0)
    if state is State.OPEN:
        session.receive(welcome(), 0.0)
        session.receive(deliver(delivery(), whole=False), 0.0)
    names = {
        State.OFFLINE: (),
        State.JOINING: ("Welcome", "Goaway", "Error"),
        State.OPEN: ("Deliver", "Chunk", "Goaway", "Error"),
    }[state]

    try:
        session.receive(message, 0.0)
    except ProtocolError as exc:
        if type(message).__name__ not in names:
            assert f"while {state.name.lower()}" in str(exc)  # noqa: PT017
        else:
            assert isinstance(message, Chunk)
            assert "size" in str(exc)  # noqa: PT017
    else:
        assert type(message).__name__ in names


def test_it_greets_and_is_ready_once_welcomed() -> None:
    session = ClientSession(hello("a", "b"), 8)

    assert session.connected(0.0) == [hello("a", "b")]
    assert session.receive(welcome("a", "b"), 0.0) == [welcome("a", "b")]


def test_a_filter_is_asked_for_again_as_it_was_granted() -> None:
    """So a span back is one moment, however often it connects; one that was not asked for stays."""
    asked = (Wanted("a", filter="after:2h"), Wanted("b"))
    session = ClientSession(msgspec.structs.replace(hello(), subscriptions=asked), 8)
    session.connected(0.0)
    granted = (
        Granted(1, "b", "x", False, 0, filter="k:1"),
        Granted(2, "a", "x", False, 0, filter="after:T"),
    )
    session.receive(msgspec.structs.replace(welcome(), subscriptions=granted), 0.0)
    session.disconnected()

    [again] = session.connected(9.0)

    assert isinstance(again, Hello)
    assert again.subscriptions == (Wanted("a", filter="after:T"), Wanted("b"))


@pytest.mark.parametrize("granted", [("a",), ("a", "b", "c"), ("a", "c")])
def test_a_welcome_to_other_channels_is_refused(granted: tuple[str, ...]) -> None:
    session = ClientSession(hello("a", "b"), 8)
    session.connected(0.0)

    with pytest.raises(ProtocolError):
        session.receive(welcome(*granted), 0.0)


def test_the_server_may_say_goodbye() -> None:
    session = open_client()

    assert session.receive(Goaway("restart", 2.0), 0.0) == [Goaway("restart", 2.0)]
    assert session.receive(Error("taken_over", "x"), 0.0) == [Error("taken_over", "x")]


# Deliveries


def test_a_delivery_is_replayed_and_its_result_sent() -> None:
    session = open_client()
    first = delivery(1, b"\x00")

    assert give(session, first) == [first]
    assert session.running == {"1.1"}
    answer = Response(200, body=b"ok")
    assert session.finished(first, answer) == [Result("1.1", answer)]
    assert session.running == frozenset()


def test_the_target_gets_so_many_at_once_in_the_order_they_came() -> None:
    session = open_client(concurrency=2)
    four = [delivery(n) for n in range(1, 5)]

    assert give(session, *four) == [four[0], four[1]]
    assert session.finished(four[1], BROKEN) == [Result("1.2", BROKEN), four[2]]
    assert session.finished(four[0], OK)[-1] == four[3]


def test_chunks_of_several_bodies_are_put_together() -> None:
    session = open_client()
    one, other = delivery(1, bytes(range(256)) * 300), delivery(2, b"y" * 70_000)
    effects = []

    for announced in (one, other):
        effects += session.receive(deliver(announced, whole=False), 0.0)
    for start in range(0, 76_800, 10_000):
        for part in (one, other):
            if start < len(part.body):
                data = part.body[start : start + 10_000]
                last = start + 10_000 >= len(part.body)
                effects += session.receive(Chunk(part.id, data, last), 0.0)

    assert effects == [other, one]


def test_a_body_that_comes_anew_replaces_the_one_that_was_begun() -> None:
    session = open_client()
    body = b"x" * 50_000
    session.receive(deliver(delivery(1, body), whole=False), 0.0)
    session.receive(Chunk("1.1", b"old", last=False), 0.0)

    again = delivery(1, body, attempt=2)
    session.receive(deliver(again, whole=False), 0.0)

    assert session.receive(Chunk("1.1", body, last=True), 0.0) == [again]


# What a relay may not send


@pytest.mark.parametrize(
    ("sizes", "finished", "refused"),
    [
        ((0, 0, 0, 0), True, "more deliveries than the window allows"),
        ((99, 99, 99, 0), False, "more deliveries than the window allows"),
        ((WINDOW_BYTES // 2, WINDOW_BYTES // 2, 1), False, "more bytes than the window allows"),
        ((WINDOW_BYTES // 2, WINDOW_BYTES // 2, 1), True, "more bytes than the window allows"),
        ((WINDOW_BYTES, 1), False, "more bytes than the window allows"),
        ((MAX_BODY_BYTES, WINDOW_BYTES + 1), False, "a second body that is larger"),
    ],
)
def test_more_than_the_window_is_refused(
    sizes: tuple[int, ...], finished: bool, refused: str
) -> None:
    """Whether the bodies came or not: both fill the memory."""
    session = open_client(window=3, concurrency=1)
    *fitting, last = sizes
    for n, size in enumerate(fitting):
        session.receive(deliver(delivery(n), whole=False, size=size), 0.0)
        if finished:
            session.receive(Chunk(f"1.{n}", b"x" * size, last=True), 0.0)

    with pytest.raises(ProtocolError, match=refused):
        session.receive(deliver(delivery(99), whole=False, size=last), 0.0)


def test_what_was_answered_makes_room_in_the_window() -> None:
    session = open_client()
    small, large = b"x" * WINDOW_BYTES, b"x" * (WINDOW_BYTES + 1)

    for n in range(1, 9, 2):
        two = delivery(n, small), delivery(n + 1, large)
        assert len(give(session, *two)) == 2
        for each in two:
            session.finished(each, BROKEN)

    session.receive(deliver(delivery(9, small), whole=False), 0.0)
    with pytest.raises(ProtocolError):
        session.receive(deliver(delivery(10), whole=False, size=1), 0.0)


def test_what_an_earlier_connection_brought_takes_no_room() -> None:
    session = open_client()
    small, large = b"x" * WINDOW_BYTES, b"x" * (WINDOW_BYTES + 1)

    for n in range(1, 5, 2):
        reopen(session)
        assert len(give(session, delivery(n, small), delivery(n + 1, large))) == 2
        with pytest.raises(ProtocolError):
            session.receive(deliver(delivery(9), whole=False, size=1), 0.0)


@pytest.mark.parametrize("size", [-1, MAX_BODY_BYTES + 1, 1 << 62])
def test_an_impossible_size_is_refused(size: int) -> None:
    announced = encode(deliver(delivery(), whole=False, size=size))

    with pytest.raises(ProtocolError):
        open_client().receive(decode_server(announced), 0.0)


def test_a_body_of_another_size_than_announced_is_refused() -> None:
    with pytest.raises(ProtocolError):
        open_client().receive(deliver(delivery(1, b"xy"), size=1), 0.0)
    for data, last in ((b"abcd", False), (b"abcd", True), (b"ab", True)):
        session = open_client()
        session.receive(deliver(delivery(1, b"abc"), whole=False), 0.0)
        with pytest.raises(ProtocolError):
            session.receive(Chunk("1.1", data, last), 0.0)


def test_what_was_not_announced_or_granted_is_refused() -> None:
    session = open_client()
    with pytest.raises(ProtocolError):
        session.receive(Chunk("1.1", b"", last=True), 0.0)
    with pytest.raises(ProtocolError):
        give(session, delivery(subscription=2))
    give(session, delivery(1))
    with pytest.raises(ProtocolError):
        session.receive(Chunk("1.1", b"", last=True), 0.0)


def test_a_chunk_of_a_body_that_is_whole_is_refused() -> None:
    session = open_client()
    session.receive(deliver(delivery(1, b"xyz"), whole=False), 0.0)
    assert session.receive(Chunk("1.1", b"xyz", last=True), 0.0) != []
    session.receive(deliver(delivery(2, b"xyz"), whole=False), 0.0)
    give(session, delivery(2, b"xyz", attempt=2))

    for name in ("1.1", "1.2"):
        with pytest.raises(ProtocolError):
            session.receive(Chunk(name, b"xyz", last=True), 0.0)


# Again and again


def test_a_running_delivery_that_comes_again_is_answered_once() -> None:
    session = open_client()
    first = delivery()
    give(session, first)

    assert give(session, delivery(attempt=2)) == []
    assert session.finished(first, BROKEN) == [Result("1.1", BROKEN)]
    assert session.finished(first, BROKEN) == []


def test_a_waiting_delivery_that_comes_again_is_replayed_once() -> None:
    session = open_client(concurrency=1)
    running, waiting = delivery(1), delivery(2)
    give(session, running, waiting)

    assert give(session, delivery(2, attempt=2)) == []
    assert session.finished(running, OK)[-1] == waiting
    assert session.finished(waiting, OK) == [Result("1.2", OK)]


def test_what_was_delivered_is_not_replayed_again() -> None:
    """The result was lost with the connection, not the event."""
    session = open_client()
    first = delivery()
    give(session, first)
    session.disconnected()
    assert session.finished(first, Response(201, ((b"a", b"b"),), b"body", elapsed_ms=7)) == []
    reopen(session)

    effects = give(session, delivery(attempt=2))

    assert effects == [Result("1.1", Response(201, elapsed_ms=7))]


def test_what_failed_while_away_is_replayed_again() -> None:
    session = open_client()
    first = delivery()
    give(session, first)
    session.disconnected()
    session.finished(first, BROKEN)
    reopen(session)

    again = delivery(attempt=2)
    assert give(session, again) == [again]


def test_what_runs_on_across_a_reconnect_answers_the_next_connection() -> None:
    session = open_client()
    first = delivery()
    give(session, first)
    reopen(session)

    assert give(session, delivery(attempt=2)) == []
    assert results(session.finished(first, BROKEN)) == {"1.1": BROKEN}


def test_what_was_not_begun_is_dropped_with_its_connection() -> None:
    session = open_client(concurrency=1)
    running, waiting = delivery(1), delivery(2)
    give(session, running, waiting)
    session.receive(deliver(delivery(3, b"xyz"), whole=False), 0.0)
    reopen(session)

    assert session.finished(running, OK) == []
    with pytest.raises(ProtocolError):
        session.receive(Chunk("1.3", b"xyz", last=True), 0.0)


@pytest.mark.parametrize("while_running", [False, True])
def test_another_event_under_a_known_delivery_id_is_replayed(while_running: bool) -> None:
    """A server that was restored from a backup numbers new events like those it forgot."""
    session = open_client()
    old = delivery(1)
    give(session, old)
    if not while_running:
        session.finished(old, OK)
    reopen(session)
    new = Delivery("1.1", 1, "chatwoot", 1, False, event_head(1, id="evt_other"), b"other")

    assert give(session, new) == [new]
    if while_running:
        assert session.finished(old, OK) == []
    assert results(session.finished(new, BROKEN)) == {"1.1": BROKEN}


def test_memory_of_what_was_delivered_is_bounded() -> None:
    session = open_client()
    many = [delivery(n) for n in range(1, REMEMBERED_RESULTS + 2)]
    for each in many:
        give(session, each)
        session.finished(each, OK)

    assert give(session, many[0]) == [many[0]]
    assert results(give(session, many[1])) == {"1.2": OK}


# A target that is not there


@pytest.mark.parametrize("outcome", [DOWN, LOST])
def test_a_target_that_is_gone_pauses_its_channel(outcome: Failure) -> None:
    session = open_client("a", "b", concurrency=1)
    first, waiting = delivery(1, channel="a"), delivery(2, channel="a")
    other = delivery(3, subscription=2, channel="b")
    give(session, first, waiting, other)

    effects = session.finished(first, outcome)

    assert effects == [
        Pause(1),
        Result("1.2", Failure(FailureKind.TARGET_DOWN)),
        Probe("a"),
        Result("1.1", outcome),
        other,
    ]
    assert results(give(session, delivery(4, channel="a"))) == {
        "1.4": Failure(FailureKind.TARGET_DOWN)
    }
    assert session.target_up("a") == [Resume(1)]
    later = delivery(5, channel="a")
    assert session.finished(other, OK)[-1] == Result("2.3", OK)
    assert give(session, later) == [later]


def test_a_channel_is_paused_and_probed_once() -> None:
    session = open_client()
    one, other = delivery(1), delivery(2)
    give(session, one, other)
    session.finished(one, DOWN)

    assert session.finished(other, DOWN) == [Result("1.2", DOWN)]


def test_a_target_that_is_still_gone_is_said_to_the_next_connection() -> None:
    session = open_client()
    first = delivery()
    give(session, first)
    session.disconnected()

    assert session.finished(first, DOWN) == [Probe("chatwoot")]
    session.connected(0.0)
    assert session.receive(welcome(), 0.0) == [welcome(), Pause(1)]
    assert session.target_up("chatwoot") == [Resume(1)]


def test_a_target_that_came_back_while_away_needs_no_word() -> None:
    session = open_client()
    first = delivery()
    give(session, first)
    session.finished(first, DOWN)
    session.disconnected()

    assert session.target_up("chatwoot") == []
    session.connected(0.0)
    assert session.receive(welcome(), 0.0) == [welcome()]


# Draining


def test_draining_gives_back_what_was_not_begun_and_finishes_the_rest() -> None:
    session = open_client(concurrency=1)
    running, waiting = delivery(1), delivery(2)
    give(session, running, waiting)

    effects = session.drain()

    back = Failure(FailureKind.NOT_STARTED, "the client is stopping")
    assert effects == [Pause(1), Result("1.2", back)]
    assert results(give(session, delivery(3))) == {"1.3": Failure(FailureKind.NOT_STARTED)}
    assert session.finished(running, OK) == [Result("1.1", OK), Drained()]


def test_draining_with_nothing_under_way_is_over_at_once() -> None:
    assert ClientSession(hello(), 8).drain() == [Drained()]
    assert open_client().drain() == [Pause(1), Drained()]


def test_a_target_that_comes_back_while_draining_is_not_resumed() -> None:
    session = open_client()
    one, other = delivery(1), delivery(2)
    give(session, one, other)
    session.finished(one, DOWN)
    session.drain()

    assert session.target_up("chatwoot") == []
    reopened = ClientSession.connected(session, 0.0)
    assert reopened == [hello()]
    assert session.receive(welcome(), 0.0) == [welcome(), Pause(1)]


# Time


def test_it_says_what_it_still_works_on() -> None:
    session = open_client()
    give(session, delivery(2), delivery(1))

    assert session.tick(9.9) == []
    assert session.tick(10.0) == [Working(("1.1", "1.2"))]
    assert session.tick(14.0) == []
    session.finished(delivery(2), OK)
    session.heard(20.0)
    assert session.tick(20.0) == [Ping(), Working(("1.1",))]
    session.finished(delivery(1), OK)
    assert session.tick(30.0) == []


def test_a_server_that_never_answers_is_left() -> None:
    session = ClientSession(hello(), 8)
    assert session.tick(1e9) == []
    session.connected(100.0)

    assert session.tick(109.9) == []
    [effect] = session.tick(110.0)
    assert isinstance(effect, Close)


def test_a_message_is_a_sign_of_life() -> None:
    session = open_client()

    session.receive(Error("later", "x"), 16.0)

    assert session.tick(50.9) == [Ping()]
    assert [type(e) for e in session.tick(51.0)] == [Close]


def test_a_silent_server_is_pinged_then_left() -> None:
    session = open_client()

    assert session.tick(15.0) == [Ping()]
    session.heard(16.0)
    assert session.tick(50.9) == [Ping()]
    assert [type(e) for e in session.tick(51.0)] == [Close]
    session.disconnected()
    assert session.tick(52.0) == []


@pytest.mark.parametrize("seconds", [float("nan"), float("inf")])
def test_a_goaway_that_names_no_time_is_refused(seconds: float) -> None:
    session = open_client()

    with pytest.raises(ProtocolError):
        session.receive(Goaway("restart", seconds), 0.0)


# Whatever a relay sends


@given(st.lists(frames(OF_SERVER), max_size=12))
@tries(100)
def test_a_server_says_anything(said: list[bytes]) -> None:
    """The client's half refuses it or does what it is for."""
    session = open_client()
    for frame in said:
        try:
            for message in unpack_server(frame, batches=session.batches):
                session.receive(message, 1.0)
        except ProtocolError:
            break
    session.tick(2.0)
    session.drain()
    session.disconnected()
