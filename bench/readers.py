"""Many readers in one process: `python -m bench.readers PORT NUMBER`, the token in BENCH_TOKEN.

Each is a connection with a subscription of its own, and says of every delivery at once that its
target took it. They cost so little that it is the server that is measured. The process prints how
many deliveries each of them has taken, at least, whenever that changed: first 0, once all
subscriptions are there.
"""

import asyncio
import functools
import gc
import os
import sys
from typing import cast

import uvloop

from bench.reader import BINARY, CHANNEL, masked_frame, upgrade
from relay_protocol.codec import batch, encode, unpack_server
from relay_protocol.limits import WINDOW_DELIVERIES
from relay_protocol.messages import Deliver, Hello, Result, Wanted, Welcome
from relay_protocol.values import Response

TELL_S = 0.05
PING, PONG = 0x89, 0x8A  # whole frames (RFC 6455 §5.2)
TAKEN = Response(200)


class Reader(asyncio.Protocol):
    """One connection.

    Attributes:
        taken: Deliveries so far; None until it is welcomed.
    """

    def __init__(self, port: int, token: str, name: str) -> None:
        self.taken: int | None = None
        self._upgrade = upgrade(port, token)
        wanted = (Wanted(CHANNEL, name),)
        self._hello = Hello("bench", "bench", wanted, WINDOW_DELIVERIES, batches=True)
        self._buffer = b""
        self._upgraded = False
        self._transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's own has no such base
        self._transport.write(self._upgrade)

    def connection_lost(self, exc: Exception | None) -> None:
        sys.exit(f"a reader was sent away: {self._buffer[:200]!r} {exc or ''}")

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if not self._upgraded:
            head, blank, rest = self._buffer.partition(b"\r\n\r\n")
            if not blank or not head.startswith(b"HTTP/1.1 101 "):
                return  # a refusal is followed by the connection's end, which tells
            self._buffer, self._upgraded = rest, True
            self._transport.write(masked_frame(BINARY, encode(self._hello)))
        pongs, results = list[bytes](), list[bytes]()
        while (frame := next_frame(self._buffer)) is not None:
            kind, payload, self._buffer = frame
            if kind == BINARY:
                results += self._results(payload)
            elif kind == PING:
                pongs.append(masked_frame(PONG, payload))
        frames = [masked_frame(BINARY, one) for one in batch(results)] if results else []
        if pongs or frames:
            self._transport.write(b"".join([*pongs, *frames]))

    def _results(self, payload: bytes) -> list[bytes]:
        results = []
        for message in unpack_server(payload, batches=True):
            match message:
                case Deliver(delivery):
                    self.taken = (self.taken or 0) + 1
                    results.append(encode(Result(delivery, TAKEN)))
                case Welcome():
                    self.taken = 0
                case _:
                    pass  # what the server says before it ends the connection
        return results


def next_frame(data: bytes) -> tuple[int, bytes, bytes] | None:
    """The first byte of a frame that is not masked, its payload, and what follows it."""
    if len(data) < 2:
        return None
    start = {126: 4, 127: 10}.get(data[1], 2)
    size = data[1] if start == 2 else int.from_bytes(data[2:start])
    if len(data) < start + size:
        return None
    return data[0], data[start : start + size], data[start + size :]


async def read(port: int, number: int, token: str) -> None:
    loop, readers = asyncio.get_running_loop(), list[Reader]()
    for one in range(number):
        made = functools.partial(Reader, port, token, f"reader-{one}")
        _, reader = await loop.create_connection(made, "127.0.0.1", port)
        readers.append(reader)
    gc.freeze()
    gc.disable()  # nothing here makes cycles
    told = None
    while True:
        taken = [reader.taken for reader in readers if reader.taken is not None]
        if len(taken) == number and min(taken) != told:
            told = min(taken)
            print(told, flush=True)
        await asyncio.sleep(TELL_S)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(read(int(sys.argv[1]), int(sys.argv[2]), os.environ["BENCH_TOKEN"]))
