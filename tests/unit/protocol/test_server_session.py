"""The server's half of a conversation: what it allows, sends and counts."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_protocol.codec import decode_client, encode, unpack_client
from relay_protocol.errors import ProtocolError
from relay_protocol.limits import (
    CHUNK_BYTES,
    MAX_ELAPSED_MS,
    MAX_FRAME_BYTES,
    MAX_RESULT_BODY_BYTES,
    MAX_RESULT_HEADERS,
    MAX_SUBSCRIPTIONS,
    MAX_UNIX_MS,
    WINDOW_DELIVERIES,
)
from relay_protocol.messages import (
    ClientMessage,
    CloseCode,
    Deliver,
    Error,
    Goaway,
    Hello,
    Pause,
    Result,
    Resume,
    Wanted,
    Working,
)
from relay_protocol.server_session import ServerSession, State
from relay_protocol.session import Close, Ping
from relay_protocol.values import Failure, FailureKind, Outcome, Response
from tests.support.bent_frames import OF_CLIENT, frames
from tests.support.events import OK, delivery
from tests.support.links import hello, open_server, welcome
from tests.support.tries import tries

MESSAGES: tuple[ClientMessage, ...] = (
    hello(),
    Result("1.1", OK),
    Working(()),
    Pause(1),
    Resume(1),
)
BIG = b"x" * (CHUNK_BYTES * 3 + 1)


def session_in(state: State) -> ServerSession:
    """A session that has come so far."""
    session = ServerSession(0.0)
    if state in (State.JOINING, State.OPEN):
        session.receive(hello(), 0.0)
    if state is State.OPEN:
        session.welcome(welcome())
    if state is State.CLOSED:
        session.close(CloseCode.NORMAL, "")
    assert session.state is state
    return session


# What may follow what


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("state", State)
def test_a_message_out_of_turn_is_refused(state: State, message: ClientMessage) -> None:
    session = session_in(state)
    allowed = {
        State.CONNECTING: (Hello,),
        State.JOINING: (),
        State.OPEN: (Result, Working, Pause, Resume),
        State.CLOSED: (Hello, Result, Working, Pause, Resume),
    }[state]

    if isinstance(message, allowed):
        session.receive(message, 0.0)
    else:
        with pytest.raises(ProtocolError, match=f"while {state.name.lower()}"):
            session.receive(message, 0.0)


def test_nothing_has_an_effect_once_it_is_closed() -> None:
    session = open_server()
    session.deliver(delivery(1, BIG))
    assert session.close(CloseCode.NORMAL, "bye") == [Close(CloseCode.NORMAL, "bye")]

    assert [session.receive(message, 0.0) for message in MESSAGES] == [None] * len(MESSAGES)
    assert session.close(CloseCode.NORMAL, "again") == []
    assert session.go_away("restart", 1.0) == []
    assert session.refuse(CloseCode.TAKEN_OVER, "taken_over", "") == []
    assert session.welcome(welcome()) == []
    assert [session.tick(15.0), session.tick(1e9)] == [[], []]
    assert session.next_chunk() is None
    assert (session.credit, session.accepts(0)) == (0, False)


def test_a_hello_is_answered_once_its_wish_is_opened() -> None:
    session = ServerSession(0.0)

    assert session.receive(hello("a", "b"), 0.0) == hello("a", "b")
    assert session.credit == 0
    assert session.welcome(welcome("a", "b")) == [welcome("a", "b")]
    assert session.credit == 32
    assert session.welcome(welcome("a", "b")) == []


def test_whoever_wishes_for_more_gets_the_window() -> None:
    session = ServerSession(0.0)
    session.receive(hello("a", window=100 * WINDOW_DELIVERIES), 0.0)
    session.welcome(welcome("a"))

    assert session.credit == WINDOW_DELIVERIES


@pytest.mark.parametrize(
    "greeting",
    [
        Hello("1", "h", (), 32),
        hello("a", "a"),
        hello(*(f"c{n}" for n in range(MAX_SUBSCRIPTIONS + 1))),
        hello(*(f"c{n}" for n in range(10_000))),
        hello(window=0),
        hello(window=-1),
        Hello("1", "h", (Wanted("a", None, -1),), 32),
        Hello("1", "h", (Wanted("a"), Wanted("b", None, MAX_UNIX_MS + 1)), 32),
        Hello("1", "h", (Wanted("a", None, (1 << 64) - 1),), 32),
    ],
    ids=lambda h: str(h)[:60],
)
def test_an_impossible_hello_is_refused(greeting: Hello) -> None:
    session = ServerSession(0.0)

    with pytest.raises(ProtocolError):
        session.receive(decode_client(encode(greeting)), 0.0)

    assert session.state is State.CONNECTING, "nothing is opened"


@pytest.mark.parametrize(
    "greeting",
    [
        hello(*(f"c{n}" for n in range(MAX_SUBSCRIPTIONS))),
        hello(window=1),
        Hello("1", "h", (Wanted("a", None, 0), Wanted("b", None, MAX_UNIX_MS)), 32),
    ],
    ids=lambda h: str(h)[:60],
)
def test_a_hello_that_is_just_possible_is_taken(greeting: Hello) -> None:
    assert ServerSession(0.0).receive(decode_client(encode(greeting)), 0.0) == greeting


def test_a_subscription_that_was_not_granted_cannot_be_paused() -> None:
    session = open_server()

    assert session.receive(Pause(1), 0.0) == Pause(1)
    assert session.receive(Resume(1), 0.0) == Resume(1)
    for message in (Pause(2), Resume(2)):
        with pytest.raises(ProtocolError):
            session.receive(message, 0.0)


@pytest.mark.parametrize(
    "outcome",
    [
        Response(200, body=b"x" * (MAX_RESULT_BODY_BYTES + 1)),
        Response(200, ((b"X-A", b"1"),) * (MAX_RESULT_HEADERS + 1)),
        Failure(FailureKind.NETWORK, "x" * (MAX_RESULT_BODY_BYTES + 1)),
        Response(0),
        Response(-200),
        Response(99),
        Response(1_000),
        Response(1 << 63),
        Response(200, elapsed_ms=-1),
        Response(200, elapsed_ms=MAX_ELAPSED_MS + 1),
        Response(200, elapsed_ms=1 << 63),
        Failure(FailureKind.NETWORK, elapsed_ms=(1 << 64) - 1),
    ],
    ids=lambda o: str(o)[:40],
)
def test_a_result_that_no_store_could_hold_is_refused(outcome: Outcome) -> None:
    session = open_server()
    session.deliver(delivery())

    with pytest.raises(ProtocolError):
        session.receive(decode_client(encode(Result("1.1", outcome))), 0.0)

    assert session.under_way == {"1.1"}


@pytest.mark.parametrize(
    "outcome",
    [
        Response(200, body=b"x" * MAX_RESULT_BODY_BYTES),
        Response(200, ((b"X-A", b"1"),) * MAX_RESULT_HEADERS),
        Failure(FailureKind.NETWORK, "x" * MAX_RESULT_BODY_BYTES),
        Response(100),
        Response(999),
        Response(200, elapsed_ms=MAX_ELAPSED_MS),
    ],
    ids=lambda o: str(o)[:40],
)
def test_a_result_that_a_store_can_just_hold_is_taken(outcome: Outcome) -> None:
    session = open_server()
    session.deliver(delivery())

    result = decode_client(encode(Result("1.1", outcome)))
    assert session.receive(result, 0.0) == Result("1.1", outcome)


# Credit


def test_credit_is_what_is_left_of_the_smaller_window() -> None:
    session = open_server(window=3)

    credits_ = [session.credit]
    for n in range(1, 4):
        session.deliver(delivery(n))
        credits_.append(session.credit)

    assert credits_ == [3, 2, 1, 0]
    assert not session.accepts(0)
    with pytest.raises(AssertionError, match="more deliveries than the window allows"):
        session.deliver(delivery(4))
    assert open_server(window=1 << 40).credit == 32


def test_a_result_settles_once() -> None:
    session = open_server()
    session.deliver(delivery())

    assert session.receive(Result("1.1", OK), 0.0) == Result("1.1", OK)
    assert session.receive(Result("1.1", OK), 0.0) is None
    assert session.receive(Result("9.9", OK), 0.0) is None
    assert (session.credit, session.under_way) == (32, frozenset())


def test_a_delivery_that_is_sent_again_counts_once() -> None:
    session = open_server(window_bytes=100)

    for _ in range(3):
        session.deliver(delivery(1, b"x" * 60))

    assert (session.credit, session.accepts(40)) == (31, True)
    session.receive(Result("1.1", OK), 0.0)
    assert session.accepts(100)


def test_only_what_is_under_way_is_extended() -> None:
    session = open_server()
    session.deliver(delivery(1))

    assert session.receive(Working(("1.1", "1.2", "x")), 0.0) == Working(("1.1",))


# Bodies


def test_a_small_body_goes_with_its_delivery() -> None:
    session = open_server()
    small = delivery(1, b"x" * CHUNK_BYTES, attempt=3)

    expected = Deliver("1.1", 1, 3, False, small.event, CHUNK_BYTES, small.body)
    assert session.deliver(small) == expected
    assert session.next_chunk() is None


def test_large_bodies_take_turns() -> None:
    session = open_server()
    other = b"y" * (CHUNK_BYTES + 1)

    announced = session.deliver(delivery(1, BIG))
    session.deliver(delivery(2, other))
    chunks = []
    while (chunk := session.next_chunk()) is not None:
        chunks.append(chunk)

    assert (announced.body, announced.size) == (None, len(BIG))
    assert [c.delivery for c in chunks] == ["1.1", "1.2", "1.1", "1.2", "1.1", "1.1"]
    assert [c.last for c in chunks] == [False, False, False, True, False, True]
    assert b"".join(c.data for c in chunks if c.delivery == "1.1") == BIG
    assert b"".join(c.data for c in chunks if c.delivery == "1.2") == other


def test_a_body_of_whole_chunks_ends_with_the_last_of_them() -> None:
    session = open_server()
    session.deliver(delivery(1, b"x" * CHUNK_BYTES * 2))

    chunks = [session.next_chunk(), session.next_chunk()]

    assert [(len(c.data), c.last) for c in chunks if c] == [
        (CHUNK_BYTES, False),
        (CHUNK_BYTES, True),
    ]
    assert session.next_chunk() is None


def test_a_body_that_nobody_wants_any_more_is_not_sent_on() -> None:
    session = open_server()
    session.deliver(delivery(1, BIG))
    session.deliver(delivery(2, BIG))
    session.next_chunk()

    session.receive(Result("1.1", Failure(FailureKind.TARGET_DOWN)), 0.0)

    rest = [session.next_chunk() for _ in range(4)]
    assert {chunk.delivery for chunk in rest if chunk} == {"1.2"}
    assert session.next_chunk() is None


def test_a_body_that_is_sent_again_begins_anew() -> None:
    session = open_server()
    session.deliver(delivery(1, BIG))
    session.next_chunk()

    session.deliver(delivery(1, BIG, attempt=2))

    chunks = [session.next_chunk() for _ in range(4)]
    assert b"".join(chunk.data for chunk in chunks if chunk) == BIG
    assert session.next_chunk() is None


# Time and endings


def test_who_never_says_hello_is_let_go() -> None:
    session = ServerSession(100.0)

    assert session.tick(109.9) == []
    assert session.tick(110.0) == [Close(CloseCode.PROTOCOL_ERROR, "no hello came")]
    assert session.state is State.CLOSED


def test_a_silent_client_is_pinged_then_let_go() -> None:
    session = open_server()

    assert session.tick(14.9) == []
    assert session.tick(15.0) == [Ping()]
    session.heard(20.0)
    assert session.tick(54.9) == [Ping()]
    [close] = session.tick(55.0)
    assert isinstance(close, Close)
    assert close.code is CloseCode.NORMAL


def test_a_message_is_a_sign_of_life() -> None:
    """On a slow link no pong comes between the parts of a result."""
    session = open_server()

    session.receive(Working(()), 20.0)

    assert session.tick(54.9) == [Ping()]
    assert [type(effect) for effect in session.tick(55.0)] == [Close]


def test_endings_say_why() -> None:
    assert open_server().go_away("restart", 2.0) == [
        Goaway("restart", 2.0),
        Close(CloseCode.RESTART, "restart"),
    ]
    assert open_server().refuse(CloseCode.TAKEN_OVER, "taken_over", "by desktop") == [
        Error("taken_over", "by desktop"),
        Close(CloseCode.TAKEN_OVER, "taken_over"),
    ]


# Whatever a client sends


@given(st.lists(frames(OF_CLIENT), max_size=12), st.booleans())
@tries(100)
def test_a_client_says_anything(said: list[bytes], before_hello: bool) -> None:
    """The server's half ends in 4400 or does what it is for, and nothing of it grows."""
    session = ServerSession(0.0) if before_hello else open_server()
    if not before_hello:
        session.deliver(delivery(1))
        session.deliver(delivery(2, BIG))
    sent = session.under_way
    settled: list[str] = []
    for frame in said:
        assert len(frame) < 16 * MAX_FRAME_BYTES
        try:
            messages = unpack_client(frame, batches=session.batches)
            for message in messages:
                accepted = session.receive(message, 1.0)
                assert accepted is None or type(accepted) is type(message)
                if isinstance(accepted, Result):
                    settled.append(accepted.delivery)
        except ProtocolError:
            break
        assert session.under_way <= sent
        assert 0 <= session.credit <= WINDOW_DELIVERIES
    assert len(settled) == len(set(settled)), "each attempt ends once"
    assert set(settled) <= sent, "nothing is settled that was not sent"


def test_results_and_work_of_what_was_never_sent_come_to_nothing() -> None:
    """However many there are."""
    session = open_server()
    strangers = tuple(f"1.{number}" for number in range(10_000))

    assert session.receive(Working(strangers), 0.0) == Working(())
    for name in strangers[:1_000]:
        frame = {
            "type": "result",
            "delivery": name,
            "outcome": {"type": "response", "status": 200},
        }
        assert session.receive(decode_client(msgspec.msgpack.encode(frame)), 0.0) is None
    assert session.under_way == frozenset()


def test_work_that_is_repeated_in_a_message_counts_once() -> None:
    """A frame has room for a hundred thousand ids: each would be looked up for the lease."""
    session = open_server()
    session.deliver(delivery(1))
    session.deliver(delivery(2))
    said = Working(("1.2", "1.1", "9.9") * 1_000)

    assert session.receive(said, 0.0) == Working(("1.2", "1.1"))


def test_a_flood_of_pauses_leaves_nothing() -> None:
    """Each is told on; the session keeps no count of them."""
    session = open_server()
    before = {name: repr(value) for name, value in vars(session).items()}
    for _ in range(10_000):
        assert session.receive(Pause(1), 0.0) == Pause(1)
        assert session.receive(Resume(1), 0.0) == Resume(1)
    assert {name: repr(value) for name, value in vars(session).items()} == before
