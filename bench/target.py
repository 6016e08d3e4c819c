"""The target: a lean HTTP server process that counts webhooks and notes when they arrive.

It answers every webhook with 200, at once unless told otherwise. Some paths are its own:
`/bench/reset?run=N` starts a new count, `/bench/delay?ms=N` has each answer wait from now on,
`/bench/count` is how many different webhooks have arrived, `/bench/report` is everything it knows.
"""

import asyncio
import gc
import json
import sys
import time
from typing import TypedDict, cast

import uvloop

from bench.figures import Latency, latency

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"


class TargetReport(TypedDict):
    """What has arrived since the last reset. Times are CLOCK_MONOTONIC nanoseconds, 0 for none.

    `out_of_order` counts webhooks that came after a later one of their conversation, `strays`
    those of another run.
    """

    count: int
    duplicates: int
    out_of_order: int
    strays: int
    first_ns: int
    last_ns: int
    end_to_end_ms: Latency


class Tally:
    """Counts the webhooks of one run."""

    def __init__(self, run: int) -> None:
        self._run = run
        self._seen: set[int] = set()
        self._latest: dict[int, int] = {}
        self._waits: list[int] = []
        self._duplicates = self._out_of_order = self._strays = 0
        self._first_ns = self._last_ns = 0

    @property
    def count(self) -> int:
        return len(self._seen)

    def note(self, bench: bytes, now_ns: int) -> None:
        """Count one webhook by the four numbers of its X-Bench header."""
        run, conversation, sequence, due_ns = map(int, bench.split())
        if run != self._run:
            self._strays += 1
        elif sequence in self._seen:
            self._duplicates += 1
        else:
            self._seen.add(sequence)
            self._out_of_order += sequence < self._latest.get(conversation, -1)
            self._latest[conversation] = max(sequence, self._latest.get(conversation, -1))
            self._waits.append(now_ns - due_ns)
            self._first_ns = self._first_ns or now_ns
            self._last_ns = now_ns

    def report(self) -> TargetReport:
        return TargetReport(
            count=self.count,
            duplicates=self._duplicates,
            out_of_order=self._out_of_order,
            strays=self._strays,
            first_ns=self._first_ns,
            last_ns=self._last_ns,
            end_to_end_ms=latency(self._waits),
        )


class Target(asyncio.Protocol):
    """One connection: requests with a Content-Length, answered in order."""

    tally = Tally(0)
    delay_s = 0.0

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's own has no such base

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            size = end + 4 + int(header(head, b"content-length") or b"0")
            if len(self._buffer) < size:
                return
            self._buffer = self._buffer[size:]
            self._take(head)

    def _take(self, head: bytes) -> None:
        bench = header(head, b"x-bench")
        if not bench:
            self._transport.write(self._tell(head.split(b" ", 2)[1].decode()))
            return
        self.tally.note(bench, time.monotonic_ns())
        if self.delay_s:
            asyncio.get_running_loop().call_later(self.delay_s, self._transport.write, ANSWER)
        else:
            self._transport.write(ANSWER)

    def _tell(self, path: str) -> bytes:
        what, _, value = path.partition("=")
        if what == "/bench/reset?run":
            Target.tally = Tally(int(value))
        elif what == "/bench/delay?ms":
            Target.delay_s = int(value) / 1000
        return json_answer(self.tally.report() if path == "/bench/report" else self.tally.count)


def header(head: bytes, name: bytes) -> bytes:
    """A header's value by its lower-case name, empty without one."""
    _, _, rest = head.lower().partition(b"\r\n%b:" % name)
    return rest.split(b"\r\n", 1)[0].strip()


def json_answer(value: object) -> bytes:
    body = json.dumps(value).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Target, "127.0.0.1", port, backlog=1024)
    gc.freeze()
    gc.disable()  # nothing here makes cycles, and a collection would count as latency
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1])))
