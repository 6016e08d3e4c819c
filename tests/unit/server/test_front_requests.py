"""Requests on the public port: all the ways that HTTP/1 has of sending one, and what is none.

A request that two readers could take for different ones is refused, its connection closed, and
nothing behind it is read (RFC 9112 §11.2, request smuggling).
"""

from __future__ import annotations

import asyncio

import pytest

from relay_server.web import server
from tests.support.senders import (
    Headers,
    chunked,
    connection,
    head,
    read_answer,
    request,
)
from tests.support.waiting import settled, until
from tests.unit.server.support import Served, deaf, listening, pieces, refused

BODY = '{"event":"message_created","conversation":{"id":7},"content":"Olá 👋"}'.encode()
CHUNKED = ("Transfer-Encoding", "chunked")


def webhook(served: Served, *fields: tuple[str, str], version: str = "HTTP/1.1") -> bytes:
    """The head of a webhook with a good token."""
    bearer = ("Authorization", f"Bearer {served.token}")
    return head(f"POST /webhook {version}", [("Host", "relay"), bearer, *fields])


async def in_doubt(served: Served, raw: bytes) -> None:
    """Check that a request is refused, and one behind it on its connection not answered."""
    await refused(served, raw + request(body=b"smuggled", token=served.token), 400, "bad_request")


# Ways of sending.


async def test_one_webhook_is_stored_as_it_came(served: Served) -> None:
    answer = await served.send(request("/webhook/x?a=%2F&b", BODY, token=served.token))

    [event] = await served.events()
    assert (answer.status, answer.json) == (200, {"id": event.head.id})
    assert event.body == BODY
    assert event.head.request.method == "POST"
    assert event.head.request.request_target == "/webhook/x?a=%2F&b"
    assert (event.head.key, event.head.kind) == ("7", "message_created")
    assert event.head.request.sender == "127.0.0.1"
    assert event.head.request.headers == (
        (b"Host", b"relay.example.com"),
        (b"Content-Type", b"application/json"),
        (b"Content-Length", str(len(BODY)).encode()),
    )


async def test_a_kept_connection_takes_one_after_the_other(served: Served) -> None:
    async with connection(served.port) as one:
        for number in range(20):
            answer = await one.exchange(request(body=b"%d" % number, token=served.token))
            assert answer.status == 200
            assert "Connection" not in dict(answer.headers)
        assert len(served.doors) == 1
    assert await served.bodies() == [b"%d" % number for number in range(20)]


@pytest.mark.parametrize(("method", "status"), [("GET", 400), ("POST", 200)])
async def test_a_browser_that_opens_the_url_leaves_nothing(
    served: Served, method: str, status: int
) -> None:
    """What it stored, no app would answer; and a form's webhook comes of a browser, too."""
    opened = webhook(served, ("Sec-Fetch-Mode", "navigate"), ("Content-Length", "0"))
    answer = await served.send(opened.replace(b"POST", method.encode(), 1))

    assert answer.status == status
    assert len(await served.events()) == (status == 200)


@pytest.mark.parametrize("size", [1, 2, 7, 64])
async def test_pieces_of_any_size_make_the_same_event(served: Served, size: int) -> None:
    plain = request("/webhook?x=%C3%A1", BODY, token=served.token)
    parts = [BODY[:1], BODY[1:20], BODY[20:]]
    async with connection(served.port) as one:
        for raw in (plain, chunked(parts, "/webhook?x=%C3%A1", served.token)):
            await pieces(one, raw, size)
            assert (await read_answer(one.reader)).status == 200
    first, second = await served.events()
    assert first.body == second.body == BODY
    assert first.head.request.request_target == second.head.request.request_target


async def test_an_empty_body_is_a_webhook(served: Served) -> None:
    async with connection(served.port) as one:
        for raw in (
            webhook(served),
            request(body=b"", token=served.token),
            chunked([], "/webhook", served.token),
        ):
            assert (await one.exchange(raw)).status == 200
    assert await served.bodies() == [b"", b"", b""]


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "REPORT", "POST"])
async def test_any_method_is_a_webhook(served: Served, method: str) -> None:
    assert (await served.send(request(method=method, token=served.token))).status == 200
    [event] = await served.events()
    assert event.head.request.method == method


async def test_an_answer_to_head_has_no_body_and_the_connection_goes_on(served: Served) -> None:
    async with connection(served.port) as one:
        await one.send(request(body=b"", method="HEAD", token=served.token))
        raw = await one.reader.readuntil(b"\r\n\r\n")
        answer = await one.exchange(request(body=b"2", token=served.token))

    assert raw.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.status == 200
    assert await served.bodies() == [b"", b"2"]


async def test_a_sender_that_waits_for_100_continue_is_told_to_go_on(served: Served) -> None:
    raw = request(body=BODY, headers=[("Expect", "100-Continue")], token=served.token)
    before, _, body = raw.partition(b"\r\n\r\n")
    async with connection(served.port) as one:
        await one.send(before + b"\r\n\r\n")
        told = await one.reader.readuntil(b"\r\n\r\n")
        answer = await one.exchange(body)

    assert told == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert answer.status == 200
    [event] = await served.events()
    assert b"Expect" not in dict(event.head.request.headers)


async def test_who_sent_its_body_is_answered_and_not_told_to_go_on(served: Served) -> None:
    """It does not wait to be told (RFC 9110 §10.1.1)."""
    raw = request(body=BODY, headers=[("Expect", "100-continue")], token=served.token)
    assert (await served.send(raw)).status == 200
    assert await served.bodies() == [BODY]


@pytest.mark.parametrize(
    ("token", "length", "status"), [("rly_wrong", 2, 401), (None, 2 * 1_048_576, 413)]
)
async def test_who_is_refused_is_not_told_to_go_on(
    served: Served, token: str | None, length: int, status: int
) -> None:
    fields = [("Expect", "100-continue")]
    raw = request(body=b"", length=length, headers=fields, token=token or served.token)
    async with connection(served.port) as one:
        assert (await one.exchange(raw)).status == status
        assert await one.closed() == b""


@pytest.mark.parametrize(
    ("version", "fields", "says"),
    [
        ("HTTP/1.1", (), None),
        ("HTTP/1.1", (("Connection", "close"),), "close"),
        ("HTTP/1.1", (("Connection", "keep-alive, Close"),), "close"),
        ("HTTP/1.0", (), "close"),
        ("HTTP/1.0", (("Connection", "Keep-Alive"),), "keep-alive"),
    ],
)
async def test_the_connection_is_kept_or_closed_as_the_sender_asks(
    served: Served, version: str, fields: Headers, says: str | None
) -> None:
    raw = request(headers=fields, token=served.token).replace(b"HTTP/1.1", version.encode(), 1)
    async with connection(served.port) as one:
        answer = await one.exchange(raw)
        assert answer.status == 200
        assert dict(answer.headers).get("Connection") == says
        if says != "close":
            assert (await one.exchange(raw)).status == 200
        else:
            assert await one.closed() == b""
            await served.all_left()


async def test_line_breaks_between_requests_are_nothing(served: Served) -> None:
    raw = request(token=served.token)
    async with connection(served.port) as one:
        assert (await one.exchange(b"\r\n" + raw + b"\r\n")).status == 200
        assert (await one.exchange(raw)).status == 200


async def test_an_absolute_target_is_the_path_in_it(served: Served) -> None:
    await served.make_channel("other")
    for target in ("http://relay.example.com/webhook?a=1", "HTTPS://x/c/other/p?a=1"):
        assert (await served.send(request(target, token=served.token))).status == 200
    targets = [
        event.head.request.request_target
        for channel in ("chatwoot", "other")
        for event in await served.events(channel)
    ]
    assert targets == ["/webhook?a=1", "/p?a=1"]


async def test_a_request_without_a_host_is_a_webhook(served: Served) -> None:
    """Nothing here goes by it: where a webhook belongs is said by its path and its token."""
    fields = [("Authorization", f"Bearer {served.token}"), ("Content-Length", "2")]
    for version in ("HTTP/1.1", "HTTP/1.0"):
        assert (await served.send(head(f"POST /webhook {version}", fields) + b"{}")).status == 200


async def test_spaces_around_a_value_are_no_part_of_it(served: Served) -> None:
    """RFC 9112 §5: a repeat is known by its sender's id, however that is written."""
    ids = []
    for written in ("d-1", "d-1 ", "\td-1 \t"):
        fields = [("X-Chatwoot-Delivery", written)]
        ids.append((await served.send(request(headers=fields, token=served.token))).json["id"])
    assert len(set(ids)) == 1


@pytest.mark.parametrize(
    ("field", "body"),
    [
        *((("Content-Length", length), b"{}") for length in ("002", "\t2\t", "2 ")),
        (("Content-Length", "0" * 5_000 + "2"), b"{}"),  # Python reads no more than 4,300 digits
        *(
            (("Transfer-Encoding", coding), b"2\r\n{}\r\n0\r\n\r\n")
            for coding in ("Chunked", "\tchunked", "chunked ", "CHUNKED")
        ),
        (CHUNKED, b"2;a=b\r\n{}\r\n0\r\n\r\n"),
        (CHUNKED, b"0002\r\n{}\r\n000;x\r\n\r\n"),
        (CHUNKED, b"2\r\n{}\r\n0\r\nX: y\r\n\r\n"),
        (CHUNKED, b"0" * 30_000 + b"2\r\n{}\r\n0\r\n\r\n"),
    ],
)
async def test_an_end_that_is_written_strangely_and_clearly(
    served: Served, field: tuple[str, str], body: bytes
) -> None:
    async with connection(served.port) as one:
        assert (await one.exchange(webhook(served, field) + body)).status == 200
        assert (await one.exchange(request(body=b"next", token=served.token))).status == 200
    assert await served.bodies() == [b"{}", b"next"]


async def test_trailers_are_no_header_fields(served: Served) -> None:
    raw = chunked([b"{}"], "/webhook", served.token).removesuffix(b"\r\n")
    trailers = b"Relay-Attempt: 9\r\nX-Chatwoot-Delivery: d-9\r\nAuthorization: x\r\n\r\n"
    assert (await served.send(raw + trailers)).status == 200
    [event] = await served.events()
    assert [name for name, _ in event.head.request.headers] == [b"Host"]


async def test_more_trailers_than_a_head_has_fields_are_dropped(served: Served) -> None:
    raw = chunked([b"{}"], "/webhook", served.token).removesuffix(b"\r\n")
    trailers = b"X: y\r\n" * (server.MAX_HEADERS + 1) + b"\r\n"
    async with connection(served.port) as one:
        assert (await one.exchange(raw + trailers)).status == 200
        assert (await one.exchange(request(body=b"next", token=served.token))).status == 200
    assert await served.bodies() == [b"{}", b"next"]


# Ends that are in doubt: whoever read them otherwise would take the rest for another request.


@pytest.mark.parametrize(
    "fields",
    [
        [("Content-Length", "2"), ("Content-Length", "2")],
        [("Content-Length", "2"), ("Content-Length", "7")],
        [("Content-Length", "2"), CHUNKED],
        [CHUNKED, ("Content-Length", "2")],
        [("Transfer-Encoding", "gzip"), CHUNKED],
        [("HOST", "relay"), ("Content-Length", "2")],  # the other Host is `webhook`'s
        [("HOST", "elsewhere"), ("Content-Length", "2")],
        [("HOST", ""), ("Content-Length", "2")],
    ],
)
async def test_fields_that_contradict_each_other(served: Served, fields: Headers) -> None:
    await in_doubt(served, webhook(served, *fields) + b"2\r\n{}\r\n0\r\n\r\n")


LENGTHS = ["+2", "-2", "-0", "0x2", "2,2", "2, 2", "2 2", "2;", "2.0", "2e0", "1_0", "", " "]
LENGTHS += ["2\x0b", "\uff12", "\u0966", "9" * 30, str(1 << 64), "0" * 100 + str((1 << 64) + 2)]


@pytest.mark.parametrize("length", LENGTHS)
async def test_a_length_that_is_no_number_to_everybody(served: Served, length: str) -> None:
    await in_doubt(served, webhook(served, ("Content-Length", length)) + b"{}")


CODINGS = ["gzip", "gzip, chunked", "chunKed, gzip", "identity", "chunked, identity", "xchunked"]
CODINGS += ["chunked identity", "chunke", "chun ked", "chunked,", ",chunked", "chunked, chunked"]
CODINGS += ["chunked;q=1", "cHuNkEd;", '"chunked"', "\x0bchunked", "chunked\x00", ""]


@pytest.mark.parametrize("coding", CODINGS)
async def test_a_coding_that_is_another_or_spelled_oddly(served: Served, coding: str) -> None:
    """TE.TE: one reader sees chunks in it, the other one does not."""
    await in_doubt(served, webhook(served, ("Transfer-Encoding", coding)) + b"2\r\n{}\r\n0\r\n\r\n")


@pytest.mark.parametrize("keep", ["keep-alive", "close"])
async def test_chunks_in_http_1_0_which_has_none(served: Served, keep: str) -> None:
    """An older reader before the server would take the chunks for the next request."""
    raw = webhook(served, CHUNKED, ("Connection", keep), version="HTTP/1.0")
    await in_doubt(served, raw + b"2\r\n{}\r\n0\r\n\r\n")


SIZES = [b"0x2\r\n", b"+2\r\n", b"-1\r\n", b"2 \r\n", b" 2\r\n", b"2 x\r\n", b"z\r\n", b"\r\n"]
SIZES += [b"2\n", b"2\r", b"2;a\r", b"2;\nx\r\n", b'2;a="x\r\ny"\r\n', b"1" + b"0" * 15 + b"2\r\n"]


CHUNKS = [size + b"{}\r\n0\r\n\r\n" for size in SIZES]
CHUNKS += [b"2\r\n{}" + end for end in (b"\n0\r\n\r\n", b"XX", b"0\r\n\r\n", b"\r\r\n0\r\n\r\n")]
TRAILERS = [b"\n", b"X: y\n\r\n", b" X: y\r\n\r\n", b"X : y\r\n\r\n", b"Content-Length: 9\r\n\r\n"]
CHUNKS += [b"2\r\n{}\r\n0\r\n" + trailer for trailer in TRAILERS]


@pytest.mark.parametrize("body", CHUNKS)
async def test_chunks_that_end_where_one_likes(served: Served, body: bytes) -> None:
    await in_doubt(served, webhook(served, CHUNKED) + body)


async def test_what_is_behind_the_length_is_part_of_no_request(served: Served) -> None:
    await refused(served, request(body=b"12345", length=3, token=served.token), 400, "bad_request")


@pytest.mark.parametrize("version", ["HTTP/2.0", "HTTP/0.9"])
async def test_versions_that_webhooks_do_not_come_by(served: Served, version: str) -> None:
    await in_doubt(served, webhook(served, ("Content-Length", "2"), version=version) + b"{}")


async def test_a_request_without_a_version(served: Served) -> None:
    """HTTP/0.9: one line, and a token could be in it."""
    await in_doubt(served, b"GET /webhook?token=%b\r\n\r\n" % served.token.encode())
    await in_doubt(served, b"GET /api/v1/whoami\r\n\r\n")


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"\x00" * 100,
        b"hello\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"BREW /webhook HTTP/1.1\r\n\r\n",
        b"post /webhook HTTP/1.1\r\n\r\n",
        b"POST webhook HTTP/1.1\r\n\r\n",
        b"POST /webhook\xc3\xa9 HTTP/1.1\r\n\r\n",
        b"POST /web hook HTTP/1.1\r\n\r\n",
        b"POST /webhook HTTP/1.1\nHost: relay\n\n",
        b"POST /webhook HTTP/9.9\r\n\r\n",
        b"POST /webhook HTTP/1.1\r\nHost : relay\r\n\r\n",
        b"POST /webhook HTTP/1.1\r\nno field\r\n\r\n",
        b"POST /webhook HTTP/1.1\r\nX: a\r\n folded\r\n\r\n",
        b"POST /webhook HTTP/1.1\r\nX: a\x00b\r\n\r\n",
        b"POST /webhook HTTP/1.1\r\nX: a\rb\r\n\r\n",
        b"POST /webhook HTTP/1.1\r\n: nameless\r\n\r\n",
    ],
)
async def test_what_is_no_request(served: Served, raw: bytes) -> None:
    quoting = raw.replace(b"/webhook", b"/webhook?token=" + served.token.encode(), 1)
    for variant in (raw, quoting):
        code = "spoke_tls" if raw.startswith(b"\x16\x03") else "bad_request"
        await refused(served, variant, 400, code)
    assert served.metric("relay_answer_seconds_sum") < 1


@pytest.mark.parametrize("protocol", ["websocket", "h2c", "TLS/1.0"])
async def test_an_upgrade_of_a_webhook(served: Served, protocol: str) -> None:
    fields = [("Upgrade", protocol), ("Connection", "Upgrade")]
    for target in ("/webhook", "/c/chatwoot/x"):
        raw = request(target, headers=fields, token=served.token)
        await refused(served, raw, 400, "bad_request")


async def test_a_tunnel_through_a_webhook(served: Served) -> None:
    await refused(served, request(method="CONNECT", token=served.token), 400, "bad_request")
    await refused(served, request(method="CONNECT"), 401, "unauthorized")
    answer = await served.send(b"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert 400 <= answer.status < 500


# One request behind the other.


@pytest.mark.parametrize("status", [401, 400, 413])
async def test_a_second_request_within_and_behind_a_refused_one(
    served: Served, status: int
) -> None:
    """Its body is not read: what is in it must not become a request."""
    inner = request(body=b"smuggled", token=served.token)
    outer, code = {
        401: (request(body=inner, token="rly_wrong"), "unauthorized"),
        400: (webhook(served, ("Content-Length", str(len(inner))), CHUNKED), "bad_request"),
        413: (request(body=inner, length=1 << 30, token=served.token), "body_too_large"),
    }[status]
    await refused(served, outer + inner, status, code)


@pytest.mark.parametrize(
    "second",
    [
        b"G",
        b"POST /webhook HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
        b"GET /api/v1/whoami HTTP/1.1\r\nHost: relay\r\n\r\n",
        b"GET /connect HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"POST /webhook HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    ],
)
async def test_whatever_follows_in_the_same_piece_the_first_is_answered(
    served: Served, second: bytes
) -> None:
    async with connection(served.port) as one:
        answer = await one.exchange(request(body=b"1", token=served.token) + second)
        assert await one.closed() == b""

    assert (answer.status, dict(answer.headers)["Connection"]) == (200, "close")
    assert await served.bodies() == [b"1"]


async def test_a_second_request_while_the_first_is_stored(served: Served) -> None:
    """Its bytes, many of them, must not reset the connection before the answer is seen."""
    served.store.gate.clear()
    async with connection(served.port) as one:
        await one.send(request(body=b"1", token=served.token))
        await until(lambda: served.store.waiting)
        deaf(one)
        raw = request(body=bytes(1_000_000), token=served.token) * 4
        following = asyncio.create_task(one.send(raw))
        await settled()
        served.store.gate.set()
        await following
        listening(one)
        answer = await read_answer(one.reader)
        assert await one.closed() == b""

    assert (answer.status, dict(answer.headers)["Connection"]) == (200, "close")
    assert await served.bodies() == [b"1"]
