"""Heads of webhooks that would do something else at the target, or tell what nobody should know."""

from __future__ import annotations

import base64

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay_http.outgoing import compose
from relay_http.target import Target
from relay_protocol.values import Delivery
from relay_server.values import Event
from relay_server.web.capture import read_head
from tests.fuzz.fuzz_query import consider as consider_target
from tests.fuzz.fuzz_signature import consider as consider_signature
from tests.support.senders import head, request
from tests.support.strict_http import read_one
from tests.unit.server.support import Served

TARGET = Target("127.0.0.1", 8000)


def sent_on(event: Event) -> bytes:
    """What a target would read of a stored event."""
    delivery = Delivery("1.1", 1, "chatwoot", 1, False, event.head, event.body)
    return compose(delivery, TARGET) + event.body


# What no target is ever sent is not taken, either: it was answered 200, and dead at once.


@pytest.mark.parametrize(
    "target",
    [
        *(
            "/webhook/../admin",
            "/webhook/%2e%2E/admin",
            "/webhook/..;x",
            "/webhook#x",
            "/webhook?a#b",
        ),
        *("/webhook\\x", "/c/chatwoot//evil.example/x", "/c/chatwoot/..", "/c/chatwoot/%2e./x"),
        *("http://relay/webhook/..", "/c/chatwoot/\\\\evil.example"),
    ],
)
async def test_a_path_that_no_target_is_sent(served: Served, target: str) -> None:
    answer = await served.send(request(target, token=served.token))
    assert (answer.status, answer.json["error"]["code"]) == (400, "bad_request")
    assert await served.events() == []


@pytest.mark.parametrize("method", ["TRACE", "M-SEARCH", "CONNECT"])
async def test_a_method_that_no_target_is_sent(served: Served, method: str) -> None:
    answer = await served.send(request(method=method, token=served.token))
    assert (answer.status, answer.json["error"]["code"]) == (400, "bad_request")
    assert await served.events() == []


async def test_a_stranger_learns_nothing_of_paths(served: Served) -> None:
    """Without a good token the answer is the same as anywhere."""
    answers = [
        await served.send(request(target, method=method, token="rly_wrong"))
        for target, method in (("/webhook", "POST"), ("/webhook/..", "POST"), ("/webhook", "TRACE"))
    ]
    assert {answer.status for answer in answers} == {401}
    assert len({answer.body for answer in answers}) == 1


# What is stored goes on as one request, whatever was written into it.


@pytest.mark.parametrize(
    "target",
    [
        "/webhook/%0d%0aX-Evil:%20y%0d%0a%0d%0aGET%20/admin%20HTTP/1.1",
        "/webhook?a=%0d%0a%0d%0aDELETE%20/%20HTTP/1.1",
        "/webhook/%00?%00=%ff",
        "/webhook?" + "x" * 8_000,
        "/webhook/@evil.example:80/x",
        "/webhook?http://evil.example/",
    ],
)
async def test_a_path_that_would_like_to_be_two_requests(served: Served, target: str) -> None:
    body = b"GET /admin HTTP/1.1\r\nHost: evil\r\n\r\n"
    assert (await served.send(request(target, body, token=served.token))).status == 200
    [event] = await served.events()
    found = read_one(sent_on(event))
    assert (found.target, found.body, found.rest) == (target.encode(), body, b"")
    assert found.values(b"host") == [b"127.0.0.1:8000"]
    assert found.values(b"x-evil") == []


async def test_fields_that_would_like_to_steer_the_target(served: Served) -> None:
    fields = [
        ("Connection", "x-secret, X-Forwarded-Host"),
        ("X-Secret", "between two"),
        ("Connection", "X-Other"),
        ("X-Other", "between two, too"),
        ("Relay-Event-Id", "evt_made_up"),
        ("X-Forwarded-For", "6.6.6.6"),
        ("X-Forwarded-Proto", "https"),
        ("Proxy-Authorization", "Basic x"),
        ("Keep-Alive", "timeout=9"),
        ("Trailer", "X"),
        ("TE", "trailers"),
        ("X-Latin", "caf\xe9"),
        ("X-Tab", "a\tb"),
    ]
    assert (await served.send(request(headers=fields, token=served.token))).status == 200
    [event] = await served.events()
    found = read_one(sent_on(event))
    assert found.values(b"relay-event-id") == [event.head.id.encode()]
    assert found.values(b"x-forwarded-for") == [b"127.0.0.1"]
    assert found.values(b"x-forwarded-proto") == [b"http"]
    assert found.values(b"x-latin") == [b"caf\xe9"]
    assert found.values(b"x-tab") == [b"a\tb"]
    names = {name.lower() for name, _ in found.headers}
    dropped = {name.lower().encode() for name, _ in fields} - {b"x-latin", b"x-tab"}
    assert not names & (dropped - {b"relay-event-id", b"x-forwarded-for", b"x-forwarded-proto"})


def test_each_line_of_connection_names_fields_that_end_here() -> None:
    """Only the last line was read: what the first named went on to the target."""
    lines = ((b"Connection", b"X-A"), (b"x-a", b"1"), (b"CONNECTION", b"close"), (b"X-B", b"2"))
    assert read_head("/webhook", lines).headers == ((b"X-B", b"2"),)


# Our tokens, wherever somebody put them.

TOKEN = b"rly_secret"


@pytest.mark.parametrize(
    "value",
    [
        *(
            b"Bearer " + TOKEN,
            b"bearer  " + TOKEN,
            TOKEN,
            b"Token " + TOKEN,
            b'Bearer "rly_secret"',
        ),
        *(
            b'Digest username="rly_secret", uri="/"',
            b"Token token=rly_secret",
            b"Bearer,rly_secret",
        ),
        b"Basic " + base64.b64encode(b"user:x" + TOKEN),
        b"Basic " + base64.b64encode(TOKEN + b":"),
    ],
)
def test_a_token_in_any_form_of_authorization_goes_no_further(value: bytes) -> None:
    """It was looked for at the beginning of a part alone."""
    assert read_head("/webhook", ((b"Authorization", value), (b"X", b"y"))).headers == (
        (b"X", b"y"),
    )


@given(st.lists(st.binary(max_size=30).map(lambda raw: raw.replace(b"\n", b"")), max_size=8))
@example([b"/webhook?token=rly_a&token=b&%74oken=rly_c;d"])
@example([b"/webhook?a=%zz&%=%&&=", b"Basic %%%", b"10.0.0.2,\xff"])
@example([b"/?" + b"&" * 5_000])
def test_no_target_and_no_field_breaks_the_reader(lines: list[bytes]) -> None:
    consider_target(b"\n".join(lines))


@given(
    st.sampled_from([b"@", b"sha256=@", b"SHA256=@", b"sha1=@", b"sha256=", b"@@", b"sha256=\xff"]),
    st.one_of(
        st.integers(1_783_000_400, 1_783_001_200).map(lambda n: b"%d" % n),
        st.sampled_from([b"-1783000810", b"1783000810.0", b"0", b"9" * 5_000, b"", b"+1", b"1_0"]),
        st.text("0123456789\u0661\uff11\xb2", max_size=12).map(str.encode),
    ),
    st.binary(max_size=20),
)
def test_a_signature_fits_where_it_should_and_nowhere_else(
    signature: bytes, stamp: bytes, body: bytes
) -> None:
    consider_signature(b"\n".join([signature, stamp, body]))


async def test_repeated_fields_that_let_in(served: Served) -> None:
    """Each bearer counts; a wrong one beside a right one does no harm, and goes no further."""
    bearers = [("Authorization", "Bearer rly_wrong"), ("Authorization", f"Bearer {served.token}")]
    for fields in (bearers, bearers[::-1]):
        raw = head("POST /webhook?token=rly_x&token= HTTP/1.1", [("Host", "a"), *fields])
        assert (await served.send(raw)).status == 200
    for event in await served.events():
        assert b"rly_" not in sent_on(event)
