"""The load generator: a process of its own that posts webhooks and prints what it saw as JSON.

It is one plain `select` loop over plain sockets, because an HTTP library here would be slower than
what is measured. `python -m bench.load --help` lists its modes.
"""

import argparse
import gc
import json
import select
import socket
import time
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict
from urllib.parse import urlsplit

from bench.figures import Latency, latency
from bench.webhooks import CONVERSATIONS, FIXTURES, Webhooks

SPIN_NS = 100_000  # the kernel may wake a sleeper this late; the rest is polled away
SILENCE_S = 10.0  # no answer from anybody for this long: what is under way has failed
READ_BYTES = 65_536


class LoadResult(TypedDict):
    """What one load saw. Times are CLOCK_MONOTONIC nanoseconds; `cpu` is a share of one core."""

    answered: int
    failed: dict[str, int]
    answer_ms: Latency
    first_sent_ns: int
    last_answered_ns: int
    behind_ms: Latency
    cpu: float


class Sender:
    """One sender: at most one webhook under way, and conversations that no other sender uses.

    So the order within a conversation is defined: the next one leaves after the last was answered.
    """

    def __init__(self, address: tuple[str, int], conversations: Sequence[int], keep: bool) -> None:
        self.due_ns = 0
        self._address = address
        self._conversations = conversations
        self._keep = keep
        self._turn = 0
        self._socket: socket.socket | None = None
        self._answer = b""

    def next_conversation(self) -> int:
        self._turn += 1
        return self._conversations[self._turn % len(self._conversations)]

    def fileno(self) -> int:
        """Lets `select` take senders as they are."""
        return -1 if self._socket is None else self._socket.fileno()

    def send(self, request: bytes, due_ns: int) -> None:
        """Start one webhook. Connecting blocks: on loopback it takes no round trip to an app."""
        self.due_ns = due_ns
        self._answer = b""
        if self._socket is None:
            self._socket = socket.create_connection(self._address, timeout=None)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(request)

    def read(self) -> str | None:
        """Take what has arrived; the status once the answer is whole, `"closed"` if it never is."""
        try:
            data = self._socket.recv(READ_BYTES) if self._socket else b""
        except ConnectionError:
            data = b""
        self._answer += data
        status = answer_status(self._answer) if data else "closed"
        if status is not None and (not self._keep or status == "closed"):
            self.close()
        return status

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def answer_status(answer: bytes) -> str | None:
    """The status of an HTTP answer with a Content-Length, or None while it is incomplete."""
    head, blank, body = answer.partition(b"\r\n\r\n")
    if not blank:
        return None
    _, _, rest = head.lower().partition(b"\r\ncontent-length:")
    length = int(rest.split(b"\r\n", 1)[0] or b"0")
    return answer[9:12].decode() if len(body) >= length else None


class Load:
    """Posts webhooks through its senders and keeps the times."""

    def __init__(self, webhooks: Webhooks, senders: Sequence[Sender]) -> None:
        self._webhooks = webhooks
        self._idle = deque(senders)
        self._busy: list[Sender] = []
        self._sent = 0
        self._failed: Counter[str] = Counter()
        self._latencies: list[int] = []
        self._behind: list[int] = []
        self._first_sent_ns = 0
        self._last_answered_ns = 0

    def closed_loop(self, *, count: int, seconds: float) -> None:
        """Every sender posts its next one as soon as its last is answered, until either bound."""
        end_ns = time.monotonic_ns() + int(seconds * 1e9)
        while True:
            while self._idle and self._sent < count and time.monotonic_ns() < end_ns:
                self._begin(time.monotonic_ns())
            if not self._busy:
                return
            self._collect(SILENCE_S)

    def open_loop(self, *, rate: float, seconds: float) -> None:
        """Post at fixed times, however slow the answers are.

        A webhook that finds no idle sender leaves late, and its latency still counts from when
        it was due: slow answers cannot hide by slowing the load down (coordinated omission).
        """
        start_ns = time.monotonic_ns() + SPIN_NS
        total, interval_ns = int(rate * seconds), 1e9 / rate
        while self._sent < total or self._busy:
            due_ns = start_ns + int(self._sent * interval_ns)
            if self._sent < total and self._idle and time.monotonic_ns() >= due_ns:
                self._begin(due_ns)
                continue
            self._collect(self._pause_s(due_ns) if self._sent < total and self._idle else SILENCE_S)

    @staticmethod
    def _pause_s(due_ns: int) -> float:
        return max(0.0, (due_ns - time.monotonic_ns() - SPIN_NS) / 1e9)

    def _begin(self, due_ns: int) -> None:
        sender = self._idle.popleft()
        request = self._webhooks.request(sender.next_conversation(), self._sent, due_ns)
        self._sent += 1
        now_ns = time.monotonic_ns()
        self._first_sent_ns = self._first_sent_ns or now_ns
        self._behind.append(now_ns - due_ns)
        try:
            sender.send(request, due_ns)
        except ConnectionError:
            self._finish(sender, "closed")
        else:
            self._busy.append(sender)

    def _collect(self, timeout_s: float) -> None:
        """Wait for answers, at most so long, and take them."""
        ready: list[Sender] = select.select(self._busy, (), (), timeout_s)[0]
        for sender in ready:
            if (status := sender.read()) is not None:
                self._busy.remove(sender)
                self._finish(sender, status)
        if not ready and timeout_s == SILENCE_S:
            self._give_up()

    def _give_up(self) -> None:
        for sender in self._busy:
            sender.close()
            self._finish(sender, "no answer")
        self._busy.clear()

    def _finish(self, sender: Sender, status: str) -> None:
        if status.startswith("2"):
            self._last_answered_ns = time.monotonic_ns()
            self._latencies.append(self._last_answered_ns - sender.due_ns)
        else:
            self._failed[status] += 1
            sender.close()
        self._idle.append(sender)

    def result(self, cpu: float) -> LoadResult:
        return LoadResult(
            answered=len(self._latencies),
            failed=dict(self._failed),
            answer_ms=latency(self._latencies),
            first_sent_ns=self._first_sent_ns,
            last_answered_ns=self._last_answered_ns,
            behind_ms=latency(self._behind),
            cpu=round(cpu, 2),
        )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.add_argument("url", help="webhook URL, http only; user:password@ becomes Basic")
    parser.add_argument("--rate", type=float, help="open loop: webhooks a second")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long to post")
    parser.add_argument("--count", type=int, default=10**9, help="closed loop: how many at most")
    parser.add_argument("--senders", type=int, default=16, help="parallel senders")
    parser.add_argument("--keep", action="store_true", help="keep connections between webhooks")
    parser.add_argument("--run", type=int, default=0, help="number of the run, for the target")
    parser.add_argument("--fixtures", type=Path, default=FIXTURES)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    parts = urlsplit(args.url)
    host = parts.hostname or "localhost"
    if host.endswith("localhost"):
        host = "127.0.0.1"  # RFC 6761, whatever the resolver knows
    address = (host, parts.port or 80)
    webhooks = Webhooks(args.url, args.run, args.fixtures)
    shares = [range(n, CONVERSATIONS, args.senders) for n in range(args.senders)]
    load = Load(webhooks, [Sender(address, share, args.keep) for share in shares])
    gc.freeze()
    gc.disable()  # nothing here makes cycles, and a collection would count as latency
    ready_cpu, ready = time.process_time(), time.monotonic()
    if args.rate:
        load.open_loop(rate=args.rate, seconds=args.seconds)
    else:
        load.closed_loop(count=args.count, seconds=args.seconds)
    cpu = (time.process_time() - ready_cpu) / (time.monotonic() - ready)
    print(json.dumps(load.result(cpu)))


if __name__ == "__main__":
    main()
