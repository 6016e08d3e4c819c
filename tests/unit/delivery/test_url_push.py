"""Posting to a URL over real sockets: what arrives, what never gets a connection, what is said."""

from __future__ import annotations

import asyncio
import itertools
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from relay_http import pool as pool_module
from relay_http.poster import Poster
from relay_protocol.limits import LEASE_S, WINDOW_BYTES, WORKING_INTERVAL_S
from relay_protocol.values import Delivery, FailureKind, Outcome
from relay_server.configs import ForwardConfig
from relay_server.delivery.url import push as push_module
from relay_server.delivery.url.allow import SETTING, ForwardNotAllowed
from relay_server.delivery.url.push import Push, check_forward
from relay_server.errors import InvalidValue
from tests.support.certificates import make_certificate
from tests.support.processes import free_port
from tests.support.pushes import FakeNames, Posting, allowing, pushing, unseal
from tests.support.raw_target import OK, RawTarget, make_delivery, raw_target, split_request
from tests.support.virtual_time import running_clock, virtual_time
from tests.support.waiting import until


@pytest.fixture(autouse=True)
def look_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A target that is back is noticed soon."""
    monkeypatch.setattr(push_module, "FIRST_LOOK_S", 0.02)
    monkeypatch.setattr(push_module, "LONGEST_LOOK_S", 0.05)


@asynccontextmanager
async def posting_to_target(
    path: str = "", **options: Any
) -> AsyncIterator[tuple[RawTarget, Posting]]:
    """A target, and a push to it."""
    async with (
        raw_target() as server,
        pushing(f"http://localhost:{server.port}{path}", **options) as posting,
    ):
        yield server, posting


def think(server: RawTarget) -> asyncio.Event:
    """Have a target answer only once that is set."""
    answer = asyncio.Event()

    async def thinking(_: bytes, writer: asyncio.StreamWriter) -> None:
        await answer.wait()
        writer.write(OK)

    server.answer = thinking
    return answer


async def stall(_: bytes, writer: asyncio.StreamWriter) -> None:
    await writer.wait_closed()


async def test_a_request_arrives_byte_for_byte_with_the_forwards_own_headers() -> None:
    """Those take the place of the sender's; everything else is the sender's, in its order."""
    body = b'{"a": "\xe9\x00\xff"}'
    delivery = make_delivery(
        request_target="/webhook/a%2Fb?x=%2F&y=+",
        headers=(
            (b"X-Tag", b"a"),
            (b"Host", b"relay.example.com"),
            (b"authorization", b"Basic c2VuZGVy"),
            (b"x-tag", b"Jo\xe3o"),
            (b"Content-Length", b"%d" % len(body)),
        ),
        body=body,
        attempt=2,
    )
    headers = (("Authorization", b"terces reraeB"), ("X-New", b"1"))
    async with posting_to_target(headers=headers) as (server, posting):
        answer = await posting.answer(delivery)

    assert answer.status == 200
    first, sent, sent_body = split_request(server.requests[0])
    assert first == b"POST /webhook/a%2Fb?x=%2F&y=+ HTTP/1.1"
    assert sent == [
        (b"X-Tag", b"a"),
        (b"Host", b"localhost:%d" % server.port),
        (b"x-tag", b"Jo\xe3o"),
        (b"Content-Length", b"%d" % len(body)),
        (b"Authorization", b"Bearer secret"),
        (b"X-New", b"1"),
        (b"Relay-Event-Id", b"evt_1"),
        (b"Relay-Channel", b"chatwoot"),
        (b"Relay-Attempt", b"2"),
        (b"Relay-Received-At", b"2026-07-02T14:00:10.123Z"),
        (b"X-Forwarded-Host", b"relay.example.com"),
        (b"X-Forwarded-For", b"203.0.113.9"),
        (b"X-Forwarded-Proto", b"https"),
    ]
    assert sent_body == body


async def test_a_url_with_a_path_gets_everything_there() -> None:
    """With the event's query."""
    async with posting_to_target("/in") as (server, posting):
        await posting.answer(make_delivery(request_target="/webhook/x?a=1"))

    assert server.requests[0].startswith(b"POST /in?a=1 HTTP/1.1\r\n")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_an_answer_and_not_followed(status: int) -> None:
    """The other place never gets a connection, allowed or not."""
    async with raw_target() as elsewhere, posting_to_target() as (server, posting):
        location = f"Location: http://127.0.0.1:{elsewhere.port}/x\r\nContent-Length: 0"
        server.answer = f"HTTP/1.1 {status} Moved\r\n{location}\r\n\r\n".encode()
        answer = await posting.answer(make_delivery())

    assert answer.status == status
    assert elsewhere.connections == 0


@pytest.mark.parametrize(
    ("allow", "place"),
    [
        ("bot", "127.0.0.1"),
        ("bot", "::ffff:127.0.0.1"),
        ("bot, 10.0.0.0/8", "127.0.0.1"),
        ("other, 127.0.0.2", "127.0.0.1"),
        ("0.0.0.0/0, ::/0, bot", "127.0.0.1"),
        ("", "127.0.0.1"),
    ],
)
async def test_an_address_that_is_not_allowed_never_gets_a_connection(
    allow: str, place: str
) -> None:
    """No attempt is used, and the reason says what the address is and which setting forbids it."""
    names = FakeNames({"bot": [place]})
    async with (
        raw_target() as server,
        pushing(f"http://bot:{server.port}", allow, names) as posting,
    ):
        failure = await posting.failure(make_delivery())
        looks = len(names.asked)
        await until(lambda: len(names.asked) >= looks + 3)

        assert posting.push.why_waiting == failure.text
        assert posting.inbox.let_go_times == 0
        assert not posting.push.accepts(0)
    assert failure.kind is FailureKind.TARGET_DOWN
    assert "loopback" in failure.text
    assert SETTING in failure.text
    assert posting.inbox.said == ["hold", "finish"]
    assert posting.inbox.holds == [failure.text]
    assert server.connections == 0


async def test_a_name_that_leads_elsewhere_now_gets_no_connection_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is looked up for each connection; the new place is judged, and nothing goes to it."""
    monkeypatch.setattr(pool_module, "_IDLE_S", 0.01)
    names = FakeNames({"bot": ["127.0.0.1"]})
    async with raw_target() as good, raw_target(good.port, host="127.0.0.2") as bad:
        url = f"http://bot:{good.port}"
        async with pushing(url, "127.0.0.1, 127.0.0.3", names) as posting:
            await posting.answer(make_delivery(1))
            names.places["bot"] = ["127.0.0.2"]
            await until(lambda: len(names.asked) == 1)
            idle = posting.push._poster._pool._idle
            await until(lambda: not idle)
            failure = await posting.failure(make_delivery(2))
            assert "127.0.0.2" in failure.text
            assert SETTING in failure.text

            names.places["bot"] = ["127.0.0.2", "127.0.0.1"]  # of both, the one that is allowed
            await until(lambda: posting.inbox.let_go_times)
            await posting.answer(make_delivery(3))

    assert bad.connections == 0
    assert len(good.requests) == 2


async def test_a_kept_connection_is_looked_at_before_it_is_used_again() -> None:
    """It is closed when its address is not allowed, or when it was open for long."""
    async with posting_to_target() as (server, posting):
        for number in (1, 2):
            await posting.answer(make_delivery(number))
        assert server.connections == 1
        kept = posting.push._poster._pool._idle[0]
        kept.opened_at -= push_module.LONGEST_KEPT_S
        await posting.answer(make_delivery(3))

        assert server.connections == 2
        assert not kept.is_open
        good = posting.push._poster._pool._usable
        assert good is not None
        [again] = posting.push._poster._pool._idle
        assert good(again)
        door = push_module.Door(allowing("10.0.0.0/8"), "localhost", FakeNames().resolve)
        assert not door.still_good(again)


async def test_a_socket_that_ended_up_elsewhere_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the connection says of its other end is judged as well."""
    opened: list[socket.socket] = []

    async with raw_target() as server:

        async def astray(*_: object) -> socket.socket:
            opened.append(socket.create_connection(("127.0.0.1", server.port)))
            return opened[0]

        monkeypatch.setattr(push_module, "connect_any", astray)
        names = FakeNames({"bot": ["10.0.0.1"]})
        async with pushing(f"http://bot:{server.port}", "bot", names) as posting:
            failure = await posting.failure(make_delivery())

    assert "127.0.0.1" in failure.text
    assert opened[0].fileno() == -1
    assert server.requests == []


async def test_a_name_that_leads_nowhere_is_waited_for() -> None:
    """As a service that is not deployed yet."""
    names = FakeNames()
    async with (
        raw_target() as server,
        pushing(f"http://bot:{server.port}", "bot, 127.0.0.1", names) as posting,
    ):
        failure = await posting.failure(make_delivery())
        assert failure.kind is FailureKind.TARGET_DOWN
        assert "bot leads nowhere" in failure.text
        names.places["bot"] = ["127.0.0.1"]
        await until(lambda: posting.inbox.let_go_times)
        assert posting.push.why_waiting == ""
        await posting.answer(make_delivery())


async def test_the_reason_is_kept_true_while_it_waits() -> None:
    """People who look at it later learn what is wrong now."""
    names = FakeNames()
    async with pushing("http://bot:1", "bot", names) as posting:
        await posting.failure(make_delivery())
        names.places["bot"] = ["169.254.169.254"]
        await until(lambda: "metadata" in posting.push.why_waiting)

        assert posting.inbox.holds[-1] == posting.push.why_waiting
        assert len(posting.inbox.holds) == 2
        assert posting.inbox.let_go_times == 0


async def test_a_target_that_is_down_is_held_until_it_is_up() -> None:
    """The hold comes before the result, so that nothing goes out in between."""
    port = free_port()
    async with pushing(f"http://localhost:{port}") as posting:
        failure = await posting.failure(make_delivery())
        assert failure.kind is FailureKind.TARGET_DOWN
        assert posting.inbox.said == ["hold", "finish"]
        assert not posting.push.accepts(0)
        async with raw_target(port) as server:
            await until(lambda: posting.inbox.let_go_times)
            assert posting.push.accepts(0)
            assert (await posting.answer(make_delivery())).status == 200
            assert len(server.requests) == 1
    assert posting.inbox.holds == [f"localhost:{port} does not take connections"]
    assert posting.inbox.let_go_times == 1


async def test_a_target_that_goes_away_with_the_event_is_held_too() -> None:
    """Whether it had done the work is not known."""
    target = RawTarget()
    server = await asyncio.start_server(target.serve, "127.0.0.1", 0)
    target.port = server.sockets[0].getsockname()[1]

    async def die(_: bytes, writer: asyncio.StreamWriter) -> None:
        server.close()
        writer.close()

    target.answer = die
    async with pushing(f"http://localhost:{target.port}") as posting:
        failure = await posting.failure(make_delivery())

    assert failure.kind is FailureKind.TARGET_LOST
    assert posting.inbox.said[:2] == ["hold", "finish"]


async def test_an_answer_that_does_not_come_is_a_timeout() -> None:
    """That holds nothing: the target is there."""
    async with posting_to_target() as (server, posting):
        await posting.answer(make_delivery(1))  # to connect may take longer
        server.answer = stall
        posting.push._poster._timeout_s = 0.1
        failure = await posting.failure(make_delivery(2))

    assert failure.kind is FailureKind.TIMEOUT
    assert posting.inbox.holds == []


async def test_a_long_request_keeps_its_lease_and_is_sent_once() -> None:
    """Three minutes, with a look at the clock each second, as the hub gives it."""
    async with posting_to_target(timeout_s=240.0) as (server, posting):
        answer = think(server)
        delivery = make_delivery()
        posting.push.deliver(delivery)
        await until(lambda: server.requests)
        extended_at = []
        for second in range(1000, 1180):
            before = len(posting.inbox.extended)
            posting.push.tick(float(second))
            if len(posting.inbox.extended) > before:
                extended_at.append(second)
        posting.push.deliver(delivery)  # a lease that ran out all the same
        answer.set()
        outcome = await posting.inbox.result(delivery.id)
        posting.push.tick(5000.0)

    assert outcome.delivered
    assert len(server.requests) == 1
    assert set(posting.inbox.extended) == {delivery.id}
    gaps = [after - before for before, after in itertools.pairwise(extended_at)]
    assert set(gaps) == {WORKING_INTERVAL_S}
    assert max(gaps) < LEASE_S
    assert len(extended_at) == 18


async def test_no_more_requests_are_open_than_allowed() -> None:
    """And no more bytes than a connection's window, with one larger body beside."""
    async with posting_to_target(concurrency=3) as (server, posting):
        answer = think(server)
        push = posting.push
        assert push.accepts(WINDOW_BYTES)
        assert push.accepts(WINDOW_BYTES + 1)
        push.deliver(make_delivery(1, body=b"x" * WINDOW_BYTES))
        assert push.accepts(0)
        assert not push.accepts(1)
        push.deliver(make_delivery(2, body=b"x" * (WINDOW_BYTES + 1)))
        assert not push.accepts(WINDOW_BYTES + 1)
        push.deliver(make_delivery(3, body=b""))
        assert not push.accepts(0)
        answer.set()
        for number in (1, 2, 3):
            assert (await posting.inbox.result(f"dlv_{number}")).delivered
        assert push.accepts(WINDOW_BYTES)
        assert push.accepts(WINDOW_BYTES + 1)


async def test_closing_finishes_what_is_under_way_and_takes_nothing_more() -> None:
    """As far as its deadline allows."""
    async with posting_to_target() as (server, posting):
        answer = think(server)
        posting.push.deliver(make_delivery())
        await until(lambda: server.requests)
        closing = asyncio.create_task(posting.push.close(30))
        await asyncio.sleep(0)
        assert not posting.push.accepts(0)
        answer.set()
        await closing
        assert posting.inbox.outcomes["dlv_1"].delivered


@pytest.mark.parametrize("cut_short", [False, True])
async def test_closing_lets_go_of_what_does_not_end(cut_short: bool) -> None:
    """Without a result: its lease is freed with the reader, and it comes again.

    Also where the closing is cut short: otherwise a request goes on beside its next attempt.
    """
    async with posting_to_target() as (server, posting):
        server.answer = stall
        posting.push.deliver(make_delivery())
        await until(lambda: server.requests)
        closing = asyncio.create_task(posting.push.close(30 if cut_short else 0.01))
        await asyncio.sleep(0)
        if cut_short:
            closing.cancel()
        await asyncio.wait([closing])

        assert not posting.push._under_way
        assert posting.inbox.said == []


async def test_closing_ends_the_looks_at_a_target_that_is_down() -> None:
    """Nothing is let go afterwards."""
    port = free_port()
    async with pushing(f"http://localhost:{port}") as posting:
        await posting.failure(make_delivery())
        await posting.push.close(0)
        looking = posting.push._looking
        assert looking is not None
        assert looking.cancelled()
        assert posting.inbox.let_go_times == 0


async def test_whoever_sends_it_away_says_when_it_may_come_back() -> None:
    """The first word counts; somebody else who reads the subscription is the last."""
    async with pushing("http://localhost:1") as posting:
        posting.push.go_away("a reader failed", 5.0)
        posting.push.taken_over("forward", "laptop")
        gone = await posting.push.until_gone()
        assert (gone.reason, gone.back_after_s) == ("a reader failed", 5.0)
        assert not posting.push.accepts(0)
    async with pushing("http://localhost:1") as posting:
        posting.push.taken_over("forward", "laptop")
        gone = await posting.push.until_gone()
        assert (gone.reason, gone.back_after_s) == ("forward is read from laptop now", None)


async def test_an_error_of_our_own_is_a_failure_and_no_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The delivery is tried again, and the log has the error."""

    async def broken(_: Poster, __: Delivery) -> Outcome:
        raise ZeroDivisionError

    monkeypatch.setattr(Poster, "post", broken)
    async with pushing("http://localhost:1") as posting:
        failure = await posting.failure(make_delivery())

        assert failure.kind is FailureKind.NETWORK
        assert posting.push.accepts(WINDOW_BYTES)


async def test_a_look_that_fails_is_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A target that is back would never be noticed otherwise."""
    real, looks = Poster.look, []

    async def broken_at_first(poster: Poster) -> str:
        looks.append(poster)
        if len(looks) == 1:
            raise ZeroDivisionError
        return await real(poster)

    monkeypatch.setattr(Poster, "look", broken_at_first)
    port = free_port()
    async with pushing(f"http://localhost:{port}") as posting:
        await posting.failure(make_delivery())
        async with raw_target(port):
            await until(lambda: posting.inbox.let_go_times)


async def test_a_target_behind_tls(tmp_path: Path) -> None:
    """Its certificate is checked; with a stranger's, the target counts as not there."""
    certificate = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)
    async with raw_target(tls=context) as server:
        url = f"https://localhost:{server.port}/in"
        tls = ssl.create_default_context(cafile=certificate.cert)
        async with pushing(url, tls=tls) as posting:
            for number in (1, 2):
                assert (await posting.answer(make_delivery(number))).status == 200
            assert server.connections == 1
        async with pushing(url) as posting:
            failure = await posting.failure(make_delivery())
            assert failure.kind is FailureKind.TARGET_DOWN
            assert "certificate" in posting.push.why_waiting

    assert len(server.requests) == 2


async def test_no_proxy_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment says."""
    async with raw_target() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        async with posting_to_target() as (_, posting):
            await posting.answer(make_delivery())

    assert proxy.connections == 0


@pytest.mark.parametrize(
    "config",
    [
        ForwardConfig("http://bot/", timeout_s=0),
        ForwardConfig("http://bot/", timeout_s=3601),
        ForwardConfig("http://bot/", timeout_s=float("nan")),
        ForwardConfig("http://bot/", concurrency=0),
        ForwardConfig("http://bot/", concurrency=33),
        ForwardConfig("http://bot/?x"),
        ForwardConfig("http://bot/", headers=(("Host", b"x"),)),
        ForwardConfig("http://bot/", headers=(("Relay-Event-Id", b"x"),)),
        ForwardConfig("http://bot/", headers=(("A B", b"x"),)),
        ForwardConfig("http://bot/", headers=(("\ud800", b"x"),)),
        ForwardConfig("http://bot/", headers=(("X-A", b"\n1"),)),
        ForwardConfig("http://bot/", headers=(("X-A", b"x" * 8191),)),
        ForwardConfig("http://bot/", headers=tuple((f"X-{n}", b"x") for n in range(33))),
    ],
)
async def test_an_impossible_configuration_is_refused(config: ForwardConfig) -> None:
    """When it is made, and when it is started."""
    allowlist = allowing("bot")
    with pytest.raises(InvalidValue):
        check_forward(config, allowlist, unseal)
    with pytest.raises(InvalidValue):
        Push(config, allowlist, unseal)


def test_a_forward_that_can_be_is_taken() -> None:
    """And one that may never reach its URL is not."""
    config = ForwardConfig("http://bot:8001/in", 240.0, 32, (("Authorization", b"x reraeB"),))
    check_forward(config, allowing("bot"), unseal)
    with pytest.raises(ForwardNotAllowed):
        check_forward(config, allowing("other"), unseal)


class Inbox:
    """A reader that is told when it may go on."""

    def __init__(self) -> None:
        self.free = asyncio.Event()

    def hold(self, *_: object) -> None: ...

    def let_go(self, *_: object) -> None:
        self.free.set()


class Down:
    """A poster whose target is down for a while."""

    def __init__(self, looks: int) -> None:
        self.left = looks
        self.looked_at: list[float] = []

    async def look(self) -> str:
        self.looked_at.append(running_clock().now)
        self.left -= 1
        return "down" if self.left else ""


@virtual_time
async def test_looks_are_a_second_apart_and_later_five(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_module, "FIRST_LOOK_S", 1.0)
    monkeypatch.setattr(push_module, "LONGEST_LOOK_S", 5.0)
    push = object.__new__(Push)
    poster, inbox = Down(looks=12), Inbox()
    push._poster, push._reader = poster, inbox  # type: ignore[assignment]
    push.host, push.why_waiting = "bot", "down"
    began = running_clock().now

    await push._look()
    assert inbox.free.is_set()

    pauses = [after - before for before, after in itertools.pairwise([began, *poster.looked_at])]
    assert pauses[0] == pytest.approx(1.0)
    assert pauses == sorted(pauses)
    assert pauses[-3:] == pytest.approx([5.0] * 3)
