"""A relay that wants to reach something else than the target, or to say more than one request."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from relay_http.outgoing import RequestRefused, compose
from relay_http.poster import Poster
from relay_http.target import Target
from relay_protocol.codec import decode_server, encode
from relay_protocol.messages import Deliver
from relay_protocol.values import Delivery, EventHead, Failure, FailureKind, RequestHead
from tests.support.raw_target import raw_target
from tests.support.strict import read_one

ROOT = Target("localhost", 8000)
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
    sent = Deliver(draw(ids), 1, attempt, draw(st.booleans()), event, len(body), body)
    read = decode_server(encode(sent))
    assert isinstance(read, Deliver)
    return Delivery(read.delivery, 1, "chatwoot", read.attempt, read.replay, read.event, body)


@given(deliveries(), st.sampled_from([ROOT, BASE]))
@settings(max_examples=500, deadline=None)
def test_what_goes_out_is_one_request_to_the_target(delivery: Delivery, target: Target) -> None:
    """To its host and, where it has one, its path alone."""
    try:
        head = compose(delivery, target)
    except RequestRefused:
        return
    request = read_one(head + delivery.body)
    assert dict(request.fields)[b"host"] == target.authority.encode()
    if target.path:
        assert request.path == target.path.encode()
    own = [name for name, _ in request.fields if name.startswith(b"relay-")]
    assert len(own) == len(set(own)), "the relay's own fields are said once, by the client"


@given(st.lists(deliveries(), min_size=20, max_size=20))
@settings(max_examples=8, deadline=None)
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
        assert dict(read_one(raw).fields)[b"host"] == target.target.authority.encode()


@given(deliveries())
@settings(max_examples=100, deadline=None)
def test_why_it_was_refused_can_be_sent_and_is_short(delivery: Delivery) -> None:
    """The reason goes back to the relay as a result: it quotes no more than a line."""
    reason = ""
    try:
        compose(delivery, ROOT)
    except RequestRefused as exc:
        reason = str(exc)
    assert len(reason) < 500
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(reason)) == reason
