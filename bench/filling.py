"""Fills a new store with events: a process of its own, `python -m bench.filling DATA_DIR NUMBER`.

They are the webhooks that the load sends, each under a delivery id of its own, read and stored by
the server's own code: so every row and index is as if they had been posted. Only the fsyncs are
left out, but for one at the end: a million of them would take an hour.
"""

import argparse
import asyncio
import os
import time
from pathlib import Path

import uuid_utils
import uvloop

from bench.webhooks import CONVERSATIONS, FIXTURES, Webhooks
from relay_protocol.values import RequestHead
from relay_server.channels import identify
from relay_server.configs import ChannelConfig
from relay_server.store.opening import open_store
from relay_server.store.rules import SQLITE
from relay_server.store.sqlite import database
from relay_server.values import NewEvent
from relay_server.web.capture import read_head

CHANNEL = "chatwoot"
ROOMY = ChannelConfig(max_bytes=None)  # else the channel would be full, and none young enough to go
AT_ONCE = 2_000
URL = "http://127.0.0.1/webhook"


def new_event(webhooks: Webhooks, number: int) -> NewEvent:
    """What the server makes of one of the load's webhooks."""
    raw = webhooks.request(number % CONVERSATIONS, number, due_ns=0)
    head, _, body = raw.partition(b"\r\n\r\n")
    line, *fields = head.split(b"\r\n")
    method, target, _ = line.decode().split(" ")
    read = read_head([(name, value) for name, _, value in (f.partition(b": ") for f in fields)])
    request = RequestHead(method, target, read.headers, "127.0.0.1")
    key, kind = identify(ROOMY, body)
    now_ms, id_ = time.time_ns() // 1_000_000, f"evt_{uuid_utils.uuid7()}"
    return NewEvent(id_, now_ms, key, kind, request, body, read.delivery_id)


async def fill(data_dir: Path, number: int, fixtures: Path) -> None:
    database.SYNCHRONOUS = "off"
    data_dir.mkdir(parents=True, exist_ok=True)
    store = await open_store(SQLITE, data_dir)
    channel = await store.create_channel(CHANNEL, ROOMY, time.time_ns() // 1_000_000)
    webhooks = Webhooks(URL, 0, fixtures)
    for start in range(0, number, AT_ONCE):
        some = range(start, min(start + AT_ONCE, number))
        await asyncio.gather(*[store.append(channel.number, new_event(webhooks, n)) for n in some])
    await store.close()
    for file in data_dir.glob("relay.db*"):
        with file.open("rb") as opened:
            os.fsync(opened.fileno())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.filling", description=__doc__)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("number", type=int)
    parser.add_argument("--fixtures", type=Path, default=FIXTURES)
    args = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(fill(args.data_dir, args.number, args.fixtures))


if __name__ == "__main__":
    main()
