"""Any bytes on a connection to the public port.

The first byte says in which pieces they come, 0 for in one; the rest is what comes.
"""

from __future__ import annotations

import re

from relay_http.outgoing import compose
from relay_http.target import Target
from relay_protocol.values import HOP_BY_HOP, Delivery, EventHead
from relay_server.values import NewEvent
from relay_server.web.capture import origin_form
from relay_server.web.ingest import PREFIXES
from tests.fuzz.doors import SEND_TOKEN, Wire, at_once, open_world, talk
from tests.fuzz.running import run
from tests.support.strict import NotStrict, StrictRequest, read_one

STATUSES = frozenset({200, 400, 401, 413, 414, 431})
ANSWER = re.compile(
    rb"HTTP/1\.1 (\d{3}) [A-Za-z ]+\r\n(?:[A-Za-z-]+: [\x20-\x7e]*\r\n)*\r\n", re.DOTALL
)
LENGTH = re.compile(rb"\r\nContent-Length: (\d+)\r\n")
LEADING_LINES = re.compile(rb"\A(?:\r\n|\n|\r)+")  # RFC 9112 §2.2 has them overlooked
SPACES = re.compile(rb"\A([A-Z-]+) +([^ ]+) +(?=HTTP|RTSP|ICE)")  # §3: there may be more than one
OTHER_NAMES = re.compile(rb"\A([^ ]+ [^ ]+ )(?:RTSP|ICE)/1\.")  # read as HTTP/1.x, and only here
TARGET = Target("127.0.0.1", 8000)


def consider(data: bytes) -> None:
    """Every answer is whole; what is stored is what was sent, and goes on as one request."""
    at_once(_consider(data))


async def _consider(data: bytes) -> None:
    size, raw = (data[0] if data else 0), data[1:]
    pieces = [raw[i : i + size] for i in range(0, len(raw), size)] if size else [raw]
    world, wire = await open_world(), Wire()
    door = world.front()
    door.connection_made(wire)
    await talk(door, wire, pieces)
    if wire.protocol is None:
        door.connection_lost(None)
    elif world.handed.got:
        _check_handed(raw, bytes(world.handed.got))
    assert not world.front.doors, "a connection is left behind"
    assert world.front.arriving == 0, "bodies are counted that are none"
    taken = world.store.taken
    statuses = answers(bytes(wire.written))
    assert statuses.count(200) == len(taken), (statuses, len(taken))
    for channel, event in taken:
        raw = _check_kept(raw, channel, event)


def answers(written: bytes) -> list[int]:
    """The statuses of all answers.

    Raises:
        AssertionError: They are not answers one behind the other, each whole.
    """
    statuses = []
    while written:
        head = ANSWER.match(written)
        assert head, written[:200]
        status, end = int(head[1]), head.end()
        if status != 100:
            length = LENGTH.search(head[0])
            assert length, written[:200]
            whole = written[end : end + 1] == b"{"
            end += int(length[1]) if whole else 0  # an answer to HEAD has none
            assert status in STATUSES, written[:200]
            statuses.append(status)
        assert end <= len(written), "an answer is cut"
        written = written[end:]
    return statuses


def _check_handed(raw: bytes, handed: bytes) -> None:
    """It is from the first byte of its own request on, and that is for no webhook."""
    assert handed in raw
    try:
        request = read_one(LEADING_LINES.sub(b"", handed))
    except NotStrict:
        return
    assert not origin_form(request.target.decode("latin-1")).startswith(PREFIXES), handed


def _check_kept(raw: bytes, channel: str, event: NewEvent) -> bytes:
    """It is the next request of what was sent; the rest is returned."""
    sent = _read(raw)
    assert event.request.method == sent.method
    assert event.body == sent.body
    kept = {(name, value.strip(b" \t")) for name, value in event.request.headers}
    assert kept <= set(sent.headers)
    assert SEND_TOKEN.encode() not in b"".join(value for _, value in event.request.headers)
    head = EventHead(event.id, 1, event.received_at, event.key, event.kind, event.request)
    _check_sent_on(Delivery("1.1", 1, channel, 1, False, head, event.body))
    return sent.rest


def _read(raw: bytes) -> StrictRequest:
    """The next request. Nothing is forgiven but what nobody reads otherwise."""
    raw = LEADING_LINES.sub(b"", raw)
    raw = OTHER_NAMES.sub(rb"\1HTTP/1.", SPACES.sub(rb"\1 \2 ", raw, count=1))
    return read_one(raw)


def _check_sent_on(delivery: Delivery) -> None:
    """A target gets exactly one request, with these bytes."""
    request = delivery.event.request
    got = read_one(compose(delivery, TARGET) + delivery.body)
    assert (got.rest, got.body) == (b"", delivery.body)
    assert (got.method, got.target) == (request.method, request.request_target.encode())
    assert got.values(b"relay-event-id") == [delivery.event.id.encode()]
    assert got.values(b"host") == [b"127.0.0.1:8000"]
    assert not {name.lower() for name, _ in got.headers} & HOP_BY_HOP


if __name__ == "__main__":
    run(consider)
