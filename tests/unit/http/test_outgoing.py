"""What the target gets, and what the client will not send."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_http import outgoing
from relay_http.outgoing import RequestRefused, check_header, compose
from relay_http.poster import Poster
from relay_http.target import Target
from relay_protocol.codec import decode_server, encode
from relay_protocol.limits import MAX_ID_CHARS
from relay_protocol.messages import Deliver
from relay_protocol.values import (
    Delivery,
    EventHead,
    Failure,
    FailureKind,
    HeaderList,
    RequestHead,
)
from tests.support.raw_target import make_delivery, raw_target, split_request
from tests.support.strict import read_for_target
from tests.support.tries import tries

TARGET = Target("localhost", 8000)


def first_line(delivery: Delivery, target: Target = TARGET) -> bytes:
    """The line that goes out."""
    return split_request(compose(delivery, target))[0]


def headers_of(delivery: Delivery, target: Target = TARGET) -> list[tuple[bytes, bytes]]:
    """Those that go out; nothing follows them."""
    _, headers, rest = split_request(compose(delivery, target))
    assert rest == b""
    return headers


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
    sent = first_line(make_delivery(request_target=request_target))

    assert sent == f"POST {request_target} HTTP/1.1".encode()


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


@pytest.mark.parametrize(
    "delivery",
    [make_delivery(sender="203.0.113.9\r\nX-Evil: 1"), make_delivery(channel="a\nX: 1")],
    ids=["sender", "channel"],
)
def test_what_the_relay_adds_is_checked_too(delivery: Delivery) -> None:
    """A hostile relay cannot split headers by its own names."""
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
    """Repeats stay, though their names differ in case, and bytes that are no UTF-8."""
    headers: HeaderList = (
        (b"X-Tag", b"a"),
        (b"host", b"relay.example.com"),
        (b"x-tag", b"Jo\xe3o \x80\xff"),
        (b"Content-Length", b"999"),
        (b"X-Empty", b""),
        (b"X-Tag", b"c"),
    )

    sent = headers_of(make_delivery(headers=headers, body=b"12345"))

    assert sent[:6] == [
        (b"X-Tag", b"a"),
        (b"host", b"localhost:8000"),
        (b"x-tag", b"Jo\xe3o \x80\xff"),
        (b"Content-Length", b"5"),
        (b"X-Empty", b""),
        (b"X-Tag", b"c"),
    ]
    assert sent[6:] == [
        (b"Relay-Event-Id", b"evt_1"),
        (b"Relay-Channel", b"chatwoot"),
        (b"Relay-Attempt", b"1"),
        (b"Relay-Received-At", b"2026-07-02T14:00:10.123Z"),
        (b"X-Forwarded-Host", b"relay.example.com"),
        (b"X-Forwarded-For", b"203.0.113.9"),
        (b"X-Forwarded-Proto", b"https"),
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

    sent = headers_of(make_delivery(headers=headers))

    assert [name for name, _ in sent[:3]] == [b"Host", b"Accept", b"Content-Length"]
    assert (b"Relay-Event-Id", b"evt_1") in sent
    assert (b"X-Forwarded-For", b"203.0.113.9") in sent
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

    sent = headers_of(make_delivery(headers=headers))

    assert sent[:2] == [(b"Host", b"localhost:8000"), (b"Content-Length", b"2")]
    assert (b"X-Forwarded-Host", b"a.example") in sent
    assert sent[2][0] == b"Relay-Event-Id"


def test_a_targets_own_fields_take_the_place_of_the_senders() -> None:
    """Whatever case the sender wrote them in, and however often."""
    target = Target("localhost", 8000, headers=((b"Authorization", b"Bearer x"), (b"X-New", b"1")))
    headers: HeaderList = ((b"authorization", b"Basic a"), (b"X-A", b"1"), (b"AUTHORIZATION", b"b"))

    sent = headers_of(make_delivery(headers=headers), target)

    assert sent[:5] == [
        (b"Host", b"localhost:8000"),
        (b"X-A", b"1"),
        (b"Content-Length", b"2"),
        (b"Authorization", b"Bearer x"),
        (b"X-New", b"1"),
    ]
    assert [name.lower() for name, _ in sent].count(b"authorization") == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"Host", b"x"),
        (b"content-length", b"1"),
        (b"Relay-Event-Id", b"x"),
        (b"X-Forwarded-For", b"x"),
        (b"Connection", b"x"),
        (b"Transfer-Encoding", b"x"),
        (b"A B", b"x"),
        (b"", b"x"),
        ("É".encode(), b"x"),
        (b"X-A", b"1\r\nX-B: 2"),
        (b"X-A", b"\x00"),
    ],
)
def test_a_field_that_no_target_can_add_is_refused(name: bytes, value: bytes) -> None:
    """The relay says it itself, or it is none."""
    with pytest.raises(RequestRefused):
        check_header(name, value)


def test_an_ordinary_field_may_be_added() -> None:
    """Bytes that are no ASCII included."""
    check_header(b"Authorization", b"Bearer x")
    check_header(b"X-Nome", "João".encode())


def test_a_percent_sign_is_a_letter_like_any_other() -> None:
    """In a name, a value, and what a target adds."""
    target = Target("localhost", 8000, headers=((b"X-%d", b"100%b"),))

    sent = headers_of(make_delivery(headers=((b"X-%s-%%", b"%b %"),)), target)

    assert (b"X-%s-%%", b"%b %") in sent
    assert (b"X-%d", b"100%b") in sent


def test_a_host_without_a_name_is_not_passed_on() -> None:
    """One of the same sender that has a name is."""
    for said in (b"", b"relay.example.com", b""):
        sent = dict(headers_of(make_delivery(headers=((b"Host", said),))))
        assert sent[b"Host"] == b"localhost:8000"
        assert sent.get(b"X-Forwarded-Host", b"") == said
        assert (b"X-Forwarded-Host" in sent) == bool(said)


def test_what_is_left_out_may_be_anything() -> None:
    """The target never sees it."""
    headers: HeaderList = ((b"X-Forwarded-For", b"\x00\r\n"), (b"X-A", b"1"))

    assert (b"X-A", b"1") in headers_of(make_delivery(headers=headers))


def test_a_replay_says_so_and_an_unknown_sender_is_not_named() -> None:
    """The target can tell a replay from a first delivery."""
    sent = dict(headers_of(make_delivery(replay=True, sender="", attempt=3)))

    assert sent[b"Relay-Replay"] == b"1"
    assert sent[b"Relay-Attempt"] == b"3"
    assert b"X-Forwarded-For" not in sent


def test_the_relays_traceparent_takes_the_place_of_the_senders() -> None:
    ours = f"00-{'a' * 32}-{'b' * 16}-01"
    sent = make_delivery(headers=((b"TraceParent", b"00-theirs"), (b"Tracestate", b"x=1")))
    assert (b"TraceParent", b"00-theirs") in headers_of(sent)
    fields = headers_of(msgspec.structs.replace(sent, traceparent=ours))
    assert [f for f in fields if f[0].lower() == b"traceparent"] == [
        (b"traceparent", ours.encode())
    ]
    assert (b"Tracestate", b"x=1") in fields


def test_a_target_with_a_path_gets_everything_there_with_the_query() -> None:
    """The event's own path is left away, its query is not."""
    delivery = make_delivery(request_target="/webhook/x?token=%2F")

    bot = Target("::1", 80, "/bot/in")
    assert first_line(delivery, bot) == b"POST /bot/in?token=%2F HTTP/1.1"
    assert dict(headers_of(delivery, bot))[b"Host"] == b"[::1]:80"


@pytest.mark.parametrize("body", [b"", b"12"])
def test_a_length_is_said_where_there_is_a_body(body: bytes) -> None:
    """An event without one goes out as bare as it came."""
    sent = dict(headers_of(make_delivery(headers=((b"Host", b"x"),), body=body)))

    assert sent.get(b"Content-Length") == (b"2" if body else None)


def test_text_that_is_no_text_is_refused() -> None:
    """A lone half of a character has no bytes."""
    with pytest.raises(RequestRefused, match="cannot be sent"):
        compose(make_delivery(sender="\ud800"), TARGET)


def test_few_heads_are_remembered() -> None:
    """Of 64 KiB of names each: more of them would stay as long as the process."""
    for number in range(100):
        name = b"x%d-" % number + b"y" * 60_000
        assert name + b": 1\r\n" in compose(make_delivery(headers=((name, b"1"),)), TARGET)
    assert outgoing._plan.cache_info().currsize <= 32


# A relay that wants to reach something else than the target, or to say more than one request

BASE = Target("::1", 8000, "/base/webhook")

_pieces = st.sampled_from(
    [
        "/",
        "//",
        "evil.example",
        "http://evil.example/",
        "@",
        ":443",
        "..",
        "/../",
        "%2e%2e",
        "%2E.",
        "..;",
        "\\",
        "\\\\evil",
        "%5c",
        "%00",
        "\x00",
        "\r",
        "\n",
        "\r\n",
        "\r\nHost: evil.example",
        "\r\n\r\nGET /admin HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        " HTTP/1.1\r\n",
        " ",
        "\t",
        "#",
        "?",
        "*",
        "\x0b",
        "\x7f",
        "\x85",
        "\xa0",
        "\u010a",
        "\u2028",
        "é",
        "🎉",
        "a",
        "webhook",
        "=",
        "&",
    ]
)
texts = st.lists(_pieces, max_size=5).map("".join)
targets = st.one_of(texts, texts.map("/".__add__), st.just("/webhook?a=1"))
methods = st.sampled_from(
    ["POST", "GET", "HEAD", "CONNECT", "TRACE", "PRI", "post", "POST /x", "P\r\nX", "", "X" * 30]
)
names = st.sampled_from(
    [
        b"Host",
        b"hOST",
        b"Content-Length",
        b"content-length",
        b"Transfer-Encoding",
        b"Transfer-Encoding ",
        b"transfer_encoding",
        b"Connection",
        b"Upgrade",
        b"HTTP2-Settings",
        b"Expect",
        b"TE",
        b"Trailer",
        b"Keep-Alive",
        b"Proxy-Connection",
        b"Proxy-Authorization",
        b"X-Forwarded-Host",
        b"Relay-Event-Id",
        b"X-Custom",
        b"X Custom",
        b"X-Custom:",
        b"",
        b" folded",
        b"X\r\nHost",
        b"X\n",
        b"\xff",
        b"Cookie",
    ]
)
values = st.one_of(
    st.sampled_from(
        [
            b"chunked",
            b"close, x-custom, host, content-length",
            b"h2c",
            b"100-continue",
            b"0",
            b"-1",
            b"5, 5",
            b"evil.example",
            b"",
            b" ",
            b"\xff\xfe",
        ]
    ),
    texts.map(lambda text: text.encode()),
)
ids = st.one_of(st.just("evt_1"), texts)


@st.composite
def deliveries(draw: st.DrawFn) -> Delivery:
    """A delivery as it comes out of a frame: whatever a relay can say."""
    request = RequestHead(
        draw(methods),
        draw(targets),
        tuple(draw(st.lists(st.tuples(names, values), max_size=6))),
        draw(texts),
        draw(st.one_of(st.just("https"), texts)),
    )
    received_at = draw(st.sampled_from([0, 1_783_000_000_000, -1, 2**63, -(2**63)]))
    event = EventHead(draw(ids), 1, received_at, draw(texts), draw(texts), request)
    body = draw(st.sampled_from([b"", b"{}", b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n"]))
    attempt = draw(st.sampled_from([1, 0, -5, 2**64 - 1]))
    sent = Deliver(
        draw(ids)[:MAX_ID_CHARS], 1, attempt, draw(st.booleans()), event, len(body), body
    )
    read = decode_server(encode(sent))
    assert isinstance(read, Deliver)
    return Delivery(read.delivery, 1, "chatwoot", read.attempt, read.replay, read.event, body)


@given(deliveries(), st.sampled_from([TARGET, BASE]))
@tries(500)
def test_what_goes_out_is_one_request_to_the_target(delivery: Delivery, target: Target) -> None:
    """To its host and, where it has one, its path alone.

    Why it was refused goes back to the relay as a result: it can be sent, and is short.
    """
    reason = head = b""
    try:
        head = compose(delivery, target)
    except RequestRefused as exc:
        reason = msgspec.msgpack.encode(str(exc))
    if not head:
        assert len(reason) < 1_000
        return
    request = read_for_target(head + delivery.body)
    assert request.values(b"host") == [target.authority.encode()]
    if target.path:
        assert request.target.partition(b"?")[0] == target.path.encode()
    own = [name.lower() for name, _ in request.headers if name.lower().startswith(b"relay-")]
    assert len(own) == len(set(own)), "the relay's own fields are said once, by the client"


@given(st.lists(deliveries(), min_size=20, max_size=20))
@tries(8)
async def test_a_target_gets_one_request_for_each_that_is_not_refused(
    sent: list[Delivery],
) -> None:
    """By real sockets: nothing of one is read as the next."""
    async with raw_target() as target:
        poster = Poster(target.target, 5.0, 1)
        outcomes = [await poster.post(delivery) for delivery in sent]
        poster.close()
    refused = [o for o in outcomes if isinstance(o, Failure) and o.kind is FailureKind.REFUSED]
    assert len(outcomes) - len(refused) == len(target.requests)
    assert all(outcome.delivered for outcome in outcomes if outcome not in refused)
    for raw in target.requests:
        assert read_for_target(raw).values(b"host") == [target.target.authority.encode()]
