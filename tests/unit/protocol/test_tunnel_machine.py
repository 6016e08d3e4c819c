"""An order, both sessions and a target, wired over a link that delays, cuts and comes back."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from relay_protocol.client_session import (
    ClientEffect,
    ClientSession,
    Drained,
    Paused,
    Probe,
)
from relay_protocol.codec import decode_client, decode_server, encode
from relay_protocol.limits import CHUNK_BYTES
from relay_protocol.messages import (
    ClientMessage,
    Error,
    Goaway,
    Hello,
    Pause,
    Result,
    Resume,
    Welcome,
    Working,
)
from relay_protocol.server_session import ServerEffect, ServerSession
from relay_protocol.session import Close, Ping
from relay_protocol.values import Delivery, Outcome
from relay_server.configs import Policy
from relay_server.delivery.order import Order
from relay_server.values import Claim, Mark, MarkState, Outline, Progress
from tests.support.clock import START_MS
from tests.support.events import BROKEN, DOWN, LOST, OK, event_head
from tests.support.links import hello, welcome

CHANNEL = "chatwoot"
WINDOW = 4
CONCURRENCY = 2
BODIES = (b"", b"{}", b"x" * CHUNK_BYTES, bytes(range(256)) * 300)


@dataclass
class Line:
    """One connection: frames on their way, in order, both ways."""

    session: ServerSession
    holder: object = field(default_factory=object)
    up: deque[bytes] = field(default_factory=deque)
    down: deque[bytes] = field(default_factory=deque)
    held: bool = False


class TunnelMachine(RuleBasedStateMachine):
    """Anything may happen next; `heal` then lets everything come to its end."""

    @initialize()
    def start(self) -> None:
        self.now = 0.0
        self.bodies: dict[int, bytes] = {}
        self.keys: dict[int, str] = {}
        self.stored: dict[int, Mark] = {}
        self.floor = 0
        self.order = self.open_order()
        self.line: Line | None = None
        self.stale: Line | None = None  # cut for the client, but the server still reads it
        self.client = ClientSession(hello(window=WINDOW), CONCURRENCY)
        self.at_target: dict[str, Delivery] = {}
        self.target_is_up = True
        self.probing: set[str] = set()
        self.seen: list[int] = []  # sequences that the target answered with 200, in that order
        self.settled: list[int] = []
        self.passed: set[int] = set()  # those whose key was let go without them, or that died
        self.disturbed: set[int] = set()  # under way when a connection or a lease was lost

    def open_order(self) -> Order:
        marks = tuple(m for s, m in sorted(self.stored.items()) if s > self.floor)
        claim = Claim(1, 1, Progress(self.floor, marks))
        return Order(claim, Policy(), self.now, START_MS + round(self.now * 1000))

    # What may happen

    @rule(key=st.sampled_from("ab"), body=st.sampled_from(BODIES))
    def append(self, key: str, body: bytes) -> None:
        sequence = len(self.bodies) + 1
        self.bodies[sequence], self.keys[sequence] = body, key
        self.pump()

    @rule()
    @precondition(lambda self: self.line is None)
    def connect(self) -> None:
        self.line = Line(ServerSession(self.now))
        self.perform(self.client.connected(self.now))

    @rule()
    @precondition(lambda self: self.line is not None)
    def cut(self) -> None:
        """The link breaks: what was on it is lost; a new claim takes up what was recorded."""
        assert self.line is not None
        self.disturbed |= {int(d.partition(".")[2]) for d in self.line.session.under_way}
        self.order.release(self.line.holder)
        self.line, self.stale = None, self.line
        self.client.disconnected()
        self.record()
        self.order = self.open_order()

    @rule(count=st.integers(1, 8))
    @precondition(lambda self: self.line is not None)
    def carry_up(self, count: int) -> None:
        """Frames reach the server."""
        line = self.line
        while count and line and line is self.line and line.up:
            count -= 1
            message = decode_client(line.up.popleft())
            self.perform_message(line, line.session.receive(message, self.now))

    @rule()
    @precondition(lambda self: self.stale is not None)
    def carry_late(self) -> None:
        """What was sent before the link broke reaches the server after all."""
        assert self.stale is not None
        while self.stale.up:
            message = decode_client(self.stale.up.popleft())
            self.perform_message(self.stale, self.stale.session.receive(message, self.now))

    @rule(count=st.integers(1, 8))
    @precondition(lambda self: self.line is not None)
    def carry_down(self, count: int) -> None:
        """Frames reach the client; chunks are made as the link takes them."""
        line = self.line
        assert line is not None
        for _ in range(count):
            if not line.down and (chunk := line.session.next_chunk()) is not None:
                line.down.append(encode(chunk))
            if not line.down:
                return
            self.perform(self.client.receive(decode_server(line.down.popleft()), self.now))

    @rule(data=st.data(), outcome=st.sampled_from([OK, OK, BROKEN, LOST]))
    @precondition(lambda self: self.at_target)
    def answer(self, data: st.DataObject, outcome: Outcome) -> None:
        """The target ends a request."""
        name = data.draw(st.sampled_from(sorted(self.at_target)))
        self.end_request(name, outcome)

    def end_request(self, name: str, outcome: Outcome) -> None:
        delivery = self.at_target.pop(name)
        if outcome.delivered:
            self.seen.append(delivery.event.sequence)
        self.perform(self.client.finished(delivery, outcome))

    @rule()
    def target_goes(self) -> None:
        """What it had is lost, and what comes finds nobody."""
        self.target_is_up = False
        for name in sorted(self.at_target):
            self.end_request(name, LOST)

    @rule()
    def target_comes(self) -> None:
        self.target_is_up = True
        for channel in sorted(self.probing):
            self.probing.discard(channel)
            self.perform(self.client.target_up(channel))

    @rule(seconds=st.sampled_from([0.5, 5.0, 12.0, 30.0, 700.0]))
    def wait(self, seconds: float) -> None:
        """Time passes in steps, so that heartbeats can be sent; frames move only when carried."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 5.0)
            self.order.tick(self.now)
            self.perform(self.client.tick(self.now))
            if self.line is not None:
                self.perform_server(self.line, self.line.session.tick(self.now))
            self.pump()

    # The shells around the sessions

    def perform(self, effects: list[ClientEffect]) -> None:
        for effect in effects:
            match effect:
                case Delivery():
                    self.replay(effect)
                case Probe(channel):
                    self.probing.add(channel)
                case Ping():
                    self.beat()
                case Close():
                    self.cut()
                    return
                case Welcome() | Drained() | Paused():
                    pass
                case Goaway() | Error():
                    raise AssertionError(effect)
                case message:
                    if self.line is not None:
                        self.line.up.append(encode(message))

    def beat(self) -> None:
        """A ping and its pong overtake whatever else is on the link."""
        self.client.heard(self.now)
        if self.line is not None:
            self.line.session.heard(self.now)

    def replay(self, delivery: Delivery) -> None:
        assert delivery.body == self.bodies[delivery.event.sequence]
        assert delivery.id not in self.at_target, "one request at a time of a delivery"
        assert len(self.at_target) < CONCURRENCY
        self.at_target[delivery.id] = delivery
        if not self.target_is_up:
            self.end_request(delivery.id, DOWN)

    def perform_message(self, line: Line, accepted: ClientMessage | None) -> None:
        match accepted:
            case Hello():
                self.perform_server(line, line.session.welcome(welcome()))
            case Result(delivery, outcome):
                self.settle(line, delivery, outcome)
            case Working(deliveries):
                self.extend(line, deliveries)
            case Pause() | Resume():
                line.held = isinstance(accepted, Pause)
            case None:
                pass
        self.pump()

    def perform_server(self, line: Line, effects: list[ServerEffect]) -> None:
        for effect in effects:
            match effect:
                case Ping():
                    self.beat()
                case Close():
                    if line is self.line:
                        self.cut()
                    return
                case message:
                    line.down.append(encode(message))
        self.pump()

    def extend(self, line: Line, deliveries: tuple[str, ...]) -> None:
        for name in deliveries:
            self.order.extend(int(name.partition(".")[2]), line.holder, self.now)

    def settle(self, line: Line, name: str, outcome: Outcome) -> None:
        sequence = int(name.partition(".")[2])
        known = self.is_settled(sequence)
        finished = self.order.finish(sequence, line.holder, outcome, self.now, 0.0)
        self.record()
        if finished is None:
            return
        assert line is self.line, "who lost a lease decides nothing"
        assert not known, "what is settled stays settled"
        if self.is_settled(sequence):
            self.settled.append(sequence)
        if not outcome.delivered and finished[0].failures:
            self.passed.add(sequence)

    def pump(self) -> None:
        after = self.order.read_up_to
        rest = [Outline(s, k, len(self.bodies[s])) for s, k in self.keys.items() if s > after]
        self.order.load(rest, self.now, after, len(self.keys))
        line = self.line
        while line and not line.held and line.session.accepts(0):
            picked = self.order.pick(1)
            if not picked:
                return
            if not line.session.accepts(picked[0].size):
                for entry in picked:
                    self.order.put_back(entry)
                return
            if self.order.begin(picked[0], line.holder, self.now):
                self.send(line, picked[0].sequence, picked[0].attempt)

    def send(self, line: Line, sequence: int, attempt: int) -> None:
        head = event_head(sequence, self.keys[sequence])
        name, body = f"1.{sequence}", self.bodies[sequence]
        if name in line.session.under_way:  # its lease ran out
            self.disturbed.add(sequence)
        delivery = Delivery(name, 1, CHANNEL, attempt, False, head, body)
        line.down.append(encode(line.session.deliver(delivery)))

    def record(self) -> None:
        self.stored |= {mark.sequence: mark for mark in self.order.changes()}
        self.floor = max(self.floor, self.order.floor)

    def is_settled(self, sequence: int) -> bool:
        mark = self.stored.get(sequence)
        return sequence <= self.floor or (mark is not None and mark.state.settled)

    # What must hold

    @invariant()
    def credit_is_never_negative(self) -> None:
        if self.line is not None:
            assert 0 <= self.line.session.credit <= WINDOW
            assert len(self.line.session.under_way) <= WINDOW

    @invariant()
    def each_is_settled_once(self) -> None:
        assert len(self.settled) == len(set(self.settled))
        dead = {s for s, m in self.stored.items() if m.state is MarkState.DEAD}
        assert set(self.settled) - dead <= set(self.seen), "nobody settles what no target took"

    @invariant()
    def only_what_was_disturbed_comes_twice(self) -> None:
        twice = {s for s in self.seen if self.seen.count(s) > 1}
        assert twice <= self.disturbed

    @invariant()
    def the_order_of_a_key_is_kept(self) -> None:
        first = list(dict.fromkeys(self.seen))
        for key in "ab":
            of_key = [s for s in first if self.keys[s] == key and s not in self.passed]
            assert of_key == sorted(of_key)

    def teardown(self) -> None:
        """Healed, everything is settled, and nothing was skipped."""
        if not hasattr(self, "line"):
            return
        self.target_comes()
        for _ in range(40 + 12 * len(self.bodies)):
            if self.line is None:
                self.connect()
            for _ in range(12):
                self.carry_up(50)
                self.carry_down(50)
                for name in sorted(self.at_target):
                    self.end_request(name, OK)
            if len(self.settled) == len(self.bodies):
                break
            self.wait(5.0)
        assert sorted(self.settled) == sorted(self.bodies)
        assert self.order.floor == len(self.bodies)
        self.credit_is_never_negative()
        self.each_is_settled_once()
        self.the_order_of_a_key_is_kept()
        assert self.line is not None
        assert not any(isinstance(decode_client(f), Result) for f in self.line.up)


TestTunnel = TunnelMachine.TestCase
TestTunnel.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
