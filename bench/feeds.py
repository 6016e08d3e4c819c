"""What it costs that somebody watches: five live feeds and a search a second, beside webhooks."""

import http.client
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.errors import BenchError
from bench.processes import highest_resident_mib, resident_mib
from bench.scenarios import Figures, Target, post, warm_up
from bench.strains import LIVE_RATE, STEADILY, Size, arrived, at
from bench.usage import usage
from bench.ways import RelayWay, relay
from relay_server.store.cache import MAX_EVENTS

ON_PORT, ON_HOST = 3, 2  # feeds of one token, and of nobody: of either there may be four
EVENT = b"event: event\n"
SEARCH = "/api/v1/events?limit=50&q=bom+bolo"
SEARCH_EACH_S = 1.0
FILLING = [*STEADILY, "--count", str(MAX_EVENTS)]
LEAST_SHARE = 0.9  # of what happens, that a feed must tell of


def feeds(target: Target, folder: Path, size: Size) -> Figures:
    """The same as `watched`, on a server of its own."""
    with relay(folder, target.port) as way:
        warm_up(target, way)
        return watched(target, way, size)


def watched(target: Target, way: RelayWay, size: Size) -> Figures:
    """Webhooks at 50 a second alone, with five feeds of all that happens and searches, and alone.

    The quiet figures are the means of the two around. A viewer's CPU is a fifth of what the server
    takes more than in them, the searches' included; its memory one of what the server grows by. It
    would grow without viewers, too, until it has as many new events in memory as it ever has: so
    these are posted before.
    """
    server, number = way.processes["server"], ON_PORT + ON_HOST
    arrived(target, post(target, way, target.reset(), FILLING))
    before = _live(target, way, size.quiet_s)
    idle = resident_mib(server)
    with _watching(way) as told, _searching(way), highest_resident_mib(server) as highest:
        during = _live(target, way, size.slow_s)
    after = _live(target, way, size.quiet_s)
    if told[0] < LEAST_SHARE * LIVE_RATE * size.slow_s * number:
        raise BenchError(f"{number} feeds told of {told[0]} events: too few.")
    quiet_ms, quiet_cpu = (before[0] + after[0]) / 2, (before[1] + after[1]) / 2
    return {
        "quiet_answer_p99_ms": quiet_ms,
        "watched_answer_p99_ms": during[0],
        "watched_answer_p99_ratio": during[0] / quiet_ms,
        "viewer_cpu_percent": 100 * (during[1] - quiet_cpu) / number,
        "viewer_mib": (highest[0] - idle) / number,
    }


def _live(target: Target, way: RelayWay, seconds: float) -> tuple[float, float]:
    """The answers' p99 in ms, and the cores that the server took."""
    server = way.processes["server"]
    used, began = usage(server), time.monotonic()
    load = post(target, way, target.reset(), at(LIVE_RATE, seconds))
    took = usage(server).since(used).cpu_s / (time.monotonic() - began)
    arrived(target, load)
    return load["answer_ms"]["p99"], took


@contextmanager
def _watching(way: RelayWay) -> Iterator[list[int]]:
    """Five feeds; how many events they told of, all together."""
    told, over = [0], threading.Event()
    with ExitStack() as stack, selectors.DefaultSelector() as ready:
        for number in range(ON_PORT + ON_HOST):
            feed = stack.enter_context(_feed(way, on_port=number < ON_PORT))
            ready.register(feed, selectors.EVENT_READ, feed)

        def read() -> None:
            while not over.is_set():
                for key, _ in ready.select(0.1):
                    told[0] += key.data.recv(1 << 20).count(EVENT)

        reading = threading.Thread(target=read)
        reading.start()
        try:
            yield told
        finally:
            over.set()
            reading.join()


@contextmanager
def _searching(way: RelayWay) -> Iterator[None]:
    """A search each second; one that is refused is an error."""
    over, failed = threading.Event(), list[int]()

    def search() -> None:
        headers = {"Authorization": f"Bearer {way.subscribe_token}"}
        while not over.wait(SEARCH_EACH_S):
            connection = http.client.HTTPConnection("127.0.0.1", way.port, timeout=30)
            connection.request("GET", SEARCH, headers=headers)
            if (answer := connection.getresponse()).status != 200:
                failed.append(answer.status)
            answer.read()
            connection.close()

    searching = threading.Thread(target=search)
    searching.start()
    try:
        yield
    finally:
        over.set()
        searching.join()
    if failed:
        raise BenchError(f"{len(failed)} searches were refused: {failed[0]}.")


def _feed(way: RelayWay, *, on_port: bool) -> socket.socket:
    """A connection that a feed was asked for on."""
    if on_port:
        feed = socket.create_connection(("127.0.0.1", way.port))
    else:
        feed = socket.socket(socket.AF_UNIX)
        feed.connect(str(way.folder / "data" / "control.sock"))
    fields = f"Host: relay\r\nAuthorization: Bearer {way.subscribe_token}\r\n\r\n"
    feed.sendall(f"GET /api/v1/feed?state=1 HTTP/1.1\r\n{fields}".encode())
    return feed
