"""What the target gets, and what the client will not send."""

from __future__ import annotations

import pytest

from relay_client.outgoing import RequestRefused, compose
from relay_client.target import Target
from relay_protocol.values import HeaderList
from tests.unit.client.support import make_delivery

TARGET = Target("localhost", 8000)


@pytest.mark.parametrize(
    "request_target",
    [
        "//evil.example/webhook",
        "http://evil.example/webhook",
        "@evil.example/webhook",
        "evil",
        "",
        "*",
        "/../admin",
        "/webhook/..",
        "/a/%2e%2E/b",
        "/a/.%2e;x/b",
        "/a\\..\\b",
        "/\\evil.example/",
        "/a b",
        "/a\r\nHost: evil.example",
        "/a\nb",
        "/a\x00b",
        "/a\x7fb",
        "/a#b",
        "/a\tb",
        "/\udcff",
    ],
)
def test_a_path_that_could_lead_elsewhere_is_refused(request_target: str) -> None:
    """Nothing of it is sent, and the reason names it."""
    with pytest.raises(RequestRefused, match="the path"):
        compose(make_delivery(request_target=request_target), TARGET)


@pytest.mark.parametrize(
    "request_target",
    [
        "/webhook",
        "/",
        "/webhook?",
        "/a%2Fb/c%2f?next=%2Fx&y=a+b&z=..%2F../",
        "/a/./b//c/..d/e..",
        "/@evil.example",
        "/webhook?url=http://evil.example/../x\\y",
        "/é?nome=João",
    ],
)
def test_an_ordinary_path_stays_as_it_is(request_target: str) -> None:
    """Nothing is decoded, quoted or put in order."""
    outgoing = compose(make_delivery(request_target=request_target), TARGET)

    assert outgoing.path == request_target


@pytest.mark.parametrize(
    "method", ["CONNECT", "TRACE", "post", "", "GET ", "GE\r\nT", "É", "X" * 99]
)
def test_a_strange_method_is_refused(method: str) -> None:
    """The reason names it."""
    with pytest.raises(RequestRefused, match="the method"):
        compose(make_delivery(method=method), TARGET)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"X Y", b"1"),
        (b"", b"1"),
        (b"X\r\nY", b"1"),
        ("Ação".encode(), b"1"),
        (b"X-Y", b"1\r\nHost: evil.example"),
        (b"X-Y", b"1\n2"),
        (b"X-Y", b"\x00"),
    ],
)
def test_a_broken_header_is_refused(name: bytes, value: bytes) -> None:
    """Such a header could smuggle in another one."""
    with pytest.raises(RequestRefused):
        compose(make_delivery(headers=((name, value),)), TARGET)


def test_what_the_relay_adds_is_checked_too() -> None:
    """A hostile relay cannot split headers by its own names."""
    delivery = make_delivery(sender="203.0.113.9\r\nX-Evil: 1")

    with pytest.raises(RequestRefused, match="what the relay says"):
        compose(delivery, TARGET)


def test_an_impossible_time_is_refused() -> None:
    """It cannot be written as a time at all."""
    delivery = make_delivery()
    event = type(delivery.event)("evt_1", 1, 10**18, "", "", delivery.event.request)
    impossible = type(delivery)("dlv_1", 1, "chatwoot", 1, False, event, b"")

    with pytest.raises(RequestRefused, match="time"):
        compose(impossible, TARGET)


def test_host_and_length_are_put_right_in_place_and_the_rest_keeps_order_and_case() -> None:
    """Repeats stay, though their names differ in case."""
    headers: HeaderList = (
        (b"X-Tag", b"a"),
        (b"host", b"relay.example.com"),
        (b"x-tag", "João 🎉".encode()),
        (b"Content-Length", b"999"),
        (b"X-Empty", b""),
        (b"X-Tag", b"c"),
    )

    outgoing = compose(make_delivery(headers=headers, body=b"12345"), TARGET)

    assert outgoing.headers[:6] == [
        ("X-Tag", "a"),
        ("host", "localhost:8000"),
        ("x-tag", "João 🎉"),
        ("Content-Length", "5"),
        ("X-Empty", ""),
        ("X-Tag", "c"),
    ]
    assert outgoing.headers[6:] == [
        ("Relay-Event-Id", "evt_1"),
        ("Relay-Channel", "chatwoot"),
        ("Relay-Attempt", "1"),
        ("Relay-Received-At", "2026-07-02T14:00:10.123Z"),
        ("X-Forwarded-Host", "relay.example.com"),
        ("X-Forwarded-For", "203.0.113.9"),
        ("X-Forwarded-Proto", "https"),
    ]


def test_what_belongs_to_one_connection_or_to_the_relay_is_left_out() -> None:
    """Neither can a sender pretend to be the relay."""
    headers: HeaderList = (
        (b"Connection", b"keep-alive, X-Private"),
        (b"X-Private", b"1"),
        (b"Keep-Alive", b"timeout=5"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Expect", b"100-continue"),
        (b"TE", b"trailers"),
        (b"Upgrade", b"h2c"),
        (b"Relay-Event-Id", b"evt_forged"),
        (b"relay-anything", b"forged"),
        (b"X-Forwarded-For", b"198.51.100.1"),
        (b"Accept", b"*/*"),
    )

    sent = compose(make_delivery(headers=headers), TARGET).headers

    assert [name for name, _ in sent[:3]] == ["Host", "Accept", "Content-Length"]
    assert ("Relay-Event-Id", "evt_1") in sent
    assert ("X-Forwarded-For", "203.0.113.9") in sent
    assert "forged" not in str(sent)
    assert "198.51.100.1" not in str(sent)


def test_a_second_host_or_length_is_left_out() -> None:
    """Two of them are read in two ways by two servers."""
    headers: HeaderList = (
        (b"Host", b"a.example"),
        (b"HOST", b"b.example"),
        (b"Content-Length", b"1"),
        (b"content-length", b"2"),
    )

    sent = compose(make_delivery(headers=headers), TARGET).headers

    assert sent[:2] == [("Host", "localhost:8000"), ("Content-Length", "2")]
    assert ("X-Forwarded-Host", "a.example") in sent
    assert sent[2][0] == "Relay-Event-Id"


def test_a_replay_says_so_and_an_unknown_sender_is_not_named() -> None:
    """The target can tell a replay from a first delivery."""
    sent = dict(compose(make_delivery(replay=True, sender="", attempt=3), TARGET).headers)

    assert sent["Relay-Replay"] == "1"
    assert sent["Relay-Attempt"] == "3"
    assert "X-Forwarded-For" not in sent


def test_a_target_with_a_path_gets_everything_there_with_the_query() -> None:
    """The event's own path is left away, its query is not."""
    delivery = make_delivery(request_target="/webhook/x?token=%2F")

    assert compose(delivery, Target("::1", 80, "/bot/in")).path == "/bot/in?token=%2F"
    assert dict(compose(delivery, Target("::1", 80)).headers)["Host"] == "[::1]:80"


def test_bytes_that_are_no_utf8_are_taken_for_latin1() -> None:
    """The value arrives, though aiohttp can only send it as UTF-8."""
    sent = dict(compose(make_delivery(headers=((b"X-Name", b"Jo\xe3o"),)), TARGET).headers)

    assert sent["X-Name"] == "João"
