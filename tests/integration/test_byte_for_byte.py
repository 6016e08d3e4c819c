"""What a sender writes is what the target reads, but for the relay's own additions."""

from __future__ import annotations

import base64

import pytest

from tests.support import chatwoot
from tests.support.relay import Relay
from tests.support.senders import head, request
from tests.support.target import Arrival, Target

ADDED = (
    b"Relay-Event-Id",
    b"Relay-Channel",
    b"Relay-Attempt",
    b"Relay-Received-At",
    b"X-Forwarded-Host",
    b"X-Forwarded-For",
    b"X-Forwarded-Proto",
)


def kept(fields: chatwoot.Headers, target: Target) -> list[tuple[bytes, bytes]]:
    """What must arrive of the fields of a sender: all, with the target's own Host."""
    host = {"Host": target.address}
    return [(n.encode(), host.get(n, v).encode()) for n, v in fields if n != "Authorization"]


def own(arrival: Arrival) -> list[tuple[bytes, bytes]]:
    """What arrived before the relay's additions, which must be the usual ones."""
    fields = list(arrival.headers)
    assert tuple(name for name, _ in fields[-len(ADDED) :]) == ADDED
    return fields[: -len(ADDED)]


async def test_every_fixture_arrives_with_the_headers_that_chatwoot_sends(
    relay: Relay, target: Target
) -> None:
    client = await relay.connect(await relay.make_token("ana", "subscribe"), "--to", target.address)
    basic = base64.b64encode(f"relay:{relay.send_token}".encode()).decode()
    sent = []

    for name in chatwoot.NAMES:
        body = chatwoot.fixture(name)
        signed = name not in chatwoot.UNSIGNED
        fields = chatwoot.headers(body, signed=signed, authorization=f"Basic {basic}")
        answer = await relay.send(chatwoot.webhook("/webhook", body, fields))
        assert answer.status == 200, (name, answer)
        sent.append((answer.json["id"], fields, body))
    await target.received(len(sent))

    assert len(sent) == 20
    by_id = {arrival.event_id: arrival for arrival in target.arrivals}
    for id_, fields, body in sent:
        arrival = by_id[id_]
        assert (arrival.method, arrival.request_target) == ("POST", "/webhook")
        assert arrival.body == body
        assert own(arrival) == kept(fields, target)
        assert arrival.header(b"X-Forwarded-Host") == chatwoot.HOST.encode()
        assert arrival.attempt == 1
        if "X-Chatwoot-Signature" in dict(fields):
            timestamp = arrival.header(b"X-Chatwoot-Timestamp").decode()
            expected = chatwoot.signature(chatwoot.SECRET, timestamp, arrival.body)
            assert arrival.header(b"X-Chatwoot-Signature").decode() == expected
    await client.said("delivered", 20)


@pytest.mark.parametrize("way", ["query", "bearer", "basic"])
async def test_a_token_lets_in_and_goes_no_further(relay: Relay, target: Target, way: str) -> None:
    await relay.connect(await relay.make_token("ana", "subscribe"), "--to", target.address)
    token = relay.send_token
    basic = base64.b64encode(f"relay:{token}".encode()).decode()
    query = f"&token={token}" if way == "query" else ""
    authorization = {"bearer": f"Bearer {token}", "basic": f"Basic {basic}"}.get(way)
    wanted = "/webhook/a%20b/%2Fc;d?x=%2F&x=&token=theirs&empty&y=%C3%A9&x=+2"
    body = chatwoot.fixture("contact_created")
    fields = chatwoot.headers(body, authorization=authorization)
    raw = chatwoot.webhook(wanted.replace("&empty", f"{query}&empty"), body, fields)

    answer = await relay.send(raw)
    refused = await relay.send(raw.replace(b"POST", b"G@T", 1))
    await target.received(1)

    assert answer.status == 200
    [arrival] = target.arrivals
    assert arrival.request_target == wanted
    assert own(arrival) == kept(fields, target)
    event = await relay.control("GET", f"events/{answer.json['id']}")
    metrics = await relay.metrics()
    shown = f"{event}{metrics}{refused.body!r}{relay.server.output}{relay.server.errors}"
    files = b"".join(path.read_bytes() for path in relay.data_dir.glob("relay.db*"))
    for secret in (token, basic):
        assert secret not in shown
        assert secret.encode() not in files
        assert all(secret.encode() not in value for _, value in arrival.headers)
    assert refused.status >= 400


async def test_headers_keep_order_case_and_repeats_and_lose_what_is_hop_by_hop(
    relay: Relay, target: Target
) -> None:
    await relay.connect(await relay.make_token("ana", "subscribe"), "--to", target.address)
    mine = [
        ("x-tag", "one"),
        ("Host", chatwoot.HOST),
        ("X-TAG", "two"),
        ("Cookie", "a=1"),
        ("X-Empty", ""),
        ("x-tag", "olá 👋".encode().decode("latin-1")),
        ("Cookie", "b=2"),
        ("X-Forwarded-Ported", "8080"),
    ]
    dropped = [
        ("Connection", "keep-alive, X-Hop"),
        ("X-Hop", "1"),
        ("Keep-Alive", "timeout=5"),
        ("TE", "trailers"),
        ("Relay-Event-Id", "evt_forged"),
        ("relay-attempt", "7"),
        ("Authorization", f"Bearer {relay.send_token}"),
    ]
    last = [("Content-Length", "2")]

    answer = await relay.send(head("POST /webhook HTTP/1.1", [*mine, *dropped, *last]) + b"{}")
    await target.received(1)

    assert answer.status == 200
    host = {"Host": target.address}
    wanted = [(n.encode(), host.get(n, v).encode("latin-1")) for n, v in [*mine, *last]]
    assert own(target.arrivals[0]) == wanted
    assert target.arrivals[0].event_id == answer.json["id"]


async def test_a_channel_by_name_hides_itself_from_the_target(relay: Relay, target: Target) -> None:
    await relay.control("POST", "channels", {"name": "other"})
    token = await relay.make_token("ana", "subscribe", "other")
    await relay.connect(token, "--to", f"other={target.address}")

    paths = {"/c/other/": "/", "/c/other/hook/%2F?a=b": "/hook/%2F?a=b", "/c/other?q": "/?q"}
    for path in paths:
        assert (await relay.send(request(path, token=relay.send_token))).status == 200
    await target.received(len(paths))

    assert [arrival.request_target for arrival in target.arrivals] == list(paths.values())
    assert {arrival.header(b"Relay-Channel") for arrival in target.arrivals} == {b"other"}
