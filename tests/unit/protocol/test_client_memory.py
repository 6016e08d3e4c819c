"""What a client keeps in memory of a relay that sends what it likes."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_protocol.client_session import ClientEffect, ClientSession
from relay_protocol.codec import decode_server, encode
from relay_protocol.errors import ProtocolError
from relay_protocol.limits import (
    MAX_BODY_BYTES,
    MAX_HEAD_BYTES,
    MAX_HEAD_FIELDS,
    MAX_ID_CHARS,
    WINDOW_BYTES,
)
from relay_protocol.messages import Chunk, Deliver, Granted, Welcome
from relay_protocol.session import Window
from relay_protocol.values import Delivery, HeaderList, Outcome
from tests.support.events import BROKEN, DOWN, OK, delivery, event_head
from tests.support.links import deliver, hello, open_client, reopen
from tests.support.tries import tries

WINDOW, CONCURRENCY = 3, 2
SMALL_WINDOW_BYTES = 1_000
SIZES = (0, 1, 400, 1_000, 1_001, 5_000)


def other_event(one: Delivery) -> Delivery:
    """The same delivery's id, given to something else."""
    return msgspec.structs.replace(one, event=event_head(999))


def check_bounded(session: ClientSession, window_bytes: int, body_bytes: int) -> None:
    """See that what is kept is within what was promised."""
    held, queue, partial = session._held, session._queue, session._partial
    assert len(held) <= WINDOW
    assert set(queue) <= set(held), "what waits counts into the window"
    assert set(partial) <= set(held), "so does what is arriving"
    assert len(session._cut_short) <= WINDOW
    assert len(session._running) <= CONCURRENCY
    waiting = sum(len(d.body) for d in queue.values())
    assert waiting <= window_bytes + body_bytes
    assert sum(len(p.body) for p in partial.values()) <= window_bytes + body_bytes
    assert 0 <= session._window._bytes <= window_bytes


numbers = st.integers(1, 5)
steps = st.one_of(
    st.tuples(st.just("deliver"), numbers, st.sampled_from(SIZES), st.booleans(), st.booleans()),
    st.tuples(st.just("chunk"), numbers, st.sampled_from(SIZES), st.booleans(), st.just(False)),
    st.tuples(st.just("finish"), numbers, st.integers(0, 2), st.just(False), st.just(False)),
    st.tuples(st.just("up"), numbers, st.just(0), st.just(False), st.just(False)),
    st.tuples(st.just("reconnect"), numbers, st.just(0), st.just(False), st.just(False)),
)


class Relay:
    """Sends what it likes to a session whose target answers when the steps say so."""

    def __init__(self) -> None:
        self.session = open_client(window=WINDOW, concurrency=CONCURRENCY)
        self.at_target: list[Delivery] = []

    def step(self, step: tuple[str, int, int, bool, bool]) -> None:
        match step:
            case ("deliver", number, size, whole, other):
                one = delivery(number, b"x" * size, attempt=2)
                one = other_event(one) if other else one
                self.note(self.session.receive(deliver(one, whole=whole), 0.0))
            case ("chunk", number, size, last, _):
                self.note(self.session.receive(Chunk(f"1.{number}", b"x" * size, last), 0.0))
            case ("finish", number, which, _, _) if self.at_target:
                one = self.at_target.pop(number % len(self.at_target))
                outcome: Outcome = (OK, BROKEN, DOWN)[which]
                self.note(self.session.finished(one, outcome))
            case ("up", _, _, _, _):
                self.session.target_up("chatwoot")
            case ("reconnect", _, _, _, _):
                reopen(self.session)
            case _:
                pass

    def note(self, effects: list[ClientEffect]) -> None:
        self.at_target += [e for e in effects if isinstance(e, Delivery)]


@given(st.lists(steps, max_size=40))
@tries(400)
def test_what_a_relay_makes_a_client_keep_is_bounded(
    taken: list[tuple[str, int, int, bool, bool]],
) -> None:
    """Whatever it lends twice, with another body, or while the first is at the target."""
    relay = Relay()
    relay.session._window = Window(WINDOW, SMALL_WINDOW_BYTES)
    for step in taken:
        try:
            relay.step(step)
        except ProtocolError:
            reopen(relay.session)
        check_bounded(relay.session, SMALL_WINDOW_BYTES, max(SIZES))


def test_a_waiting_body_is_not_let_out_of_the_window_by_a_smaller_one() -> None:
    """25 MiB each would wait, and nothing of them count."""
    session = open_client(concurrency=1)
    session.receive(deliver(delivery(1)), 0.0)
    session.receive(deliver(delivery(2, b"x" * 1_000)), 0.0)

    with pytest.raises(ProtocolError, match="comes again as another"):
        session.receive(deliver(delivery(2, b"")), 0.0)


def test_a_waiting_delivery_does_not_become_another_event() -> None:
    """Its answer would be given to the wrong one."""
    session = open_client(concurrency=1)
    session.receive(deliver(delivery(1)), 0.0)
    session.receive(deliver(delivery(2)), 0.0)

    with pytest.raises(ProtocolError, match="comes again as another"):
        session.receive(deliver(other_event(delivery(2))), 0.0)


def test_a_body_that_arrives_again_is_let_go_once_its_event_is_answered() -> None:
    """Its lease ran out; then the target answered, and the server sends no more of it."""
    session = open_client()
    body = b"x" * 70_000
    first = delivery(1, body)
    session.receive(deliver(first, whole=False), 0.0)
    session.receive(Chunk("1.1", body, last=True), 0.0)
    session.receive(deliver(delivery(1, body, attempt=2), whole=False), 0.0)
    session.receive(Chunk("1.1", body[:100], last=False), 0.0)

    assert session.finished(first, OK) != []

    assert session._partial == {}
    on_its_way = Chunk("1.1", body[100:], last=True)
    assert session.receive(on_its_way, 0.0) == [], "it was sent before the result came"
    reopen(session)
    with pytest.raises(ProtocolError, match="not announced"):
        session.receive(on_its_way, 0.0)


def test_a_body_that_was_let_go_may_come_once_more() -> None:
    """Its event failed, and is tried again."""
    session = open_client()
    first, third = delivery(1, b"body"), delivery(1, b"body", attempt=3)
    session.receive(deliver(first), 0.0)
    session.receive(deliver(delivery(1, b"body", attempt=2), whole=False), 0.0)
    session.finished(first, BROKEN)

    session.receive(deliver(third, whole=False), 0.0)

    assert session.receive(Chunk("1.1", b"body", last=True), 0.0) == [third]


def test_what_another_client_delivered_meanwhile_waits_no_longer() -> None:
    """Clients of one name share a journal."""
    session = open_client(concurrency=1)
    running, waiting = delivery(1), delivery(2)
    session.receive(deliver(running), 0.0)
    session.receive(deliver(waiting), 0.0)
    session._finished.add(waiting, OK)

    session.receive(deliver(delivery(2, attempt=2)), 0.0)

    assert waiting not in session.finished(running, OK)


@pytest.mark.parametrize("field", ["delivery", "event"])
def test_an_id_is_no_longer_than_clients_can_remember_thousands_of(field: str) -> None:
    """Memory and journal keep them: half a megabyte each would be gigabytes."""
    for chars, taken in ((MAX_ID_CHARS, True), (MAX_ID_CHARS + 1, False)):
        message = deliver(delivery())
        if field == "delivery":
            message = msgspec.structs.replace(message, delivery="x" * chars)
        else:
            event = event_head(id="x" * chars)
            message = msgspec.structs.replace(message, event=event)
        assert is_taken(message) is taken


@pytest.mark.parametrize(
    ("headers", "taken"),
    [
        (((b"a", b""),) * MAX_HEAD_FIELDS, True),
        (((b"a", b""),) * (MAX_HEAD_FIELDS + 1), False),
        (((b"", b""),) * 150_000, False),
        (((b"a", b"x" * (MAX_HEAD_BYTES - 1)),), True),
        (((b"a", b"x" * MAX_HEAD_BYTES),), False),
    ],
    ids=["most fields", "one more", "a frame full", "most bytes", "one byte more"],
)
def test_a_head_is_no_larger_than_a_server_stores(headers: HeaderList, taken: bool) -> None:
    """A frame has room for a hundred thousand empty fields, which weigh much in memory."""
    one = delivery()
    request = msgspec.structs.replace(one.event.request, headers=headers)
    event = msgspec.structs.replace(one.event, request=request)
    assert is_taken(deliver(msgspec.structs.replace(one, event=event))) is taken


def is_taken(message: Deliver) -> bool:
    """Whether a client takes a delivery."""
    try:
        return open_client().receive(decode_server(encode(message)), 0.0) != []
    except ProtocolError:
        return False


@pytest.mark.parametrize(
    "granted",
    [
        [Granted(n, "chatwoot", "ana", False, 0) for n in range(8_000)],
        [Granted(1, "a", "ana", False, 0), Granted(1, "b", "ana", False, 0)],
        [Granted(1, "a", "ana", False, 0)],
        [],
    ],
    ids=["one channel 8000 times", "one number twice", "too little", "nothing"],
)
def test_a_welcome_grants_each_channel_once(granted: list[Granted]) -> None:
    """Each is a line on the screen, and a pause to send whenever the target is gone."""
    wanted = ("chatwoot",) if len(granted) > 2 else ("a", "b")
    session = ClientSession(hello(*wanted), 8)
    session.connected(0.0)
    with pytest.raises(ProtocolError, match="the welcome"):
        session.receive(Welcome("1.0", 1, tuple(granted)), 0.0)


def test_announcing_the_largest_body_costs_nothing_until_it_comes() -> None:
    """Memory follows what arrived, not what was said to come."""
    session = open_client()
    session.receive(deliver(delivery(1), whole=False, size=MAX_BODY_BYTES), 0.0)
    session.receive(deliver(delivery(2), whole=False, size=WINDOW_BYTES), 0.0)

    assert [len(partial.body) for partial in session._partial.values()] == [0, 0]


def test_empty_chunks_without_end_add_nothing() -> None:
    """Each is allowed: only the last one must make the body whole."""
    session = open_client()
    session.receive(deliver(delivery(1), whole=False, size=5), 0.0)
    for _ in range(10_000):
        assert session.receive(Chunk("1.1", b"", last=False), 0.0) == []
    assert session._partial["1.1"].body == b""
