"""How the server ends: asked to by a signal, or because a part of it failed.

A stop must cost nobody anything. No webhook is cut off on its way in, no delivery under way is
repeated without need, clients come back to the next server by themselves; and all within the 20 s
that are promised. Seconds after the signal:

     0      not ready any more, so that a proxy sends new connections elsewhere; webhooks are still
            taken, and each answer ends its connection (`context.stopping`); live feeds end
     ≤ 10   deliveries under way have settled (`DRAIN_S`), and at least `MOVE_S` are over
            the port is closed, at a moment when the kernel holds no connection that nobody accepted
     ≤ 15   webhooks on their way in are answered (`LAST_WEBHOOK_S`); idle connections are closed
            clients are told to come back within `GO_AWAY_S`, and aiohttp's connections closed
     ≤ 20   the store is closed, and the process ends

A second signal ends the process at once. That loses nothing, either: what was answered 2xx is on
disk, and what was under way is delivered again by the next server. Where a part of the server
failed nothing is drained: a store that is broken cannot settle deliveries.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
from collections.abc import Coroutine, Iterable
from contextlib import AsyncExitStack
from types import FrameType

import structlog

from relay_server.errors import StoreBroken
from relay_server.web.context import Context
from relay_server.web.front import Front
from relay_server.web.server import BoundedRunner

log = structlog.get_logger()

# Seconds after the signal; other requests and the store get the rest of the 20 that are promised:

DRAIN_S = 10.0  # for deliveries under way
MOVE_S = 0.5  # at least: for senders on kept connections to be told in an answer
LAST_WEBHOOK_S = 15.0  # for webhooks that are on their way in
LAST_ANSWER_S = 3.0  # for the same, when a part of the server failed
BACKLOG_S = 0.5  # to accept what the kernel has accepted already
QUIET_TURNS = 2  # of the loop: asyncio makes a connection's transport in the turn after accepting
GO_AWAY_S = 1.0  # clients come back within this, spread out, and take it for a blink

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Ending:
    """The server's end: asked for by a signal, or by the failure of one of its parts."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()  # set once it is
        self.failed = False  # it ends because a part of it failed
        self.store_broken: StoreBroken | None = None  # why the store failed, if it did

    def store_failed(self, error: StoreBroken) -> None:
        """The store cannot go on; why is said at the very end, where people look."""
        self.store_broken = error
        self._fail()

    def watch(self, stack: AsyncExitStack, name: str, work: Coroutine[None, None, None]) -> None:
        """Do something for as long as the server runs; when it fails, the server ends."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._ended)
        stack.push_async_callback(_cancel, task)

    def status(self) -> int:
        """The exit status."""
        if self.store_broken is not None:
            log.error(
                "the store failed: stopped, so that nothing is promised",
                error=str(self.store_broken),
                hint=self.store_broken.hint,
            )
        return 1 if self.failed else 0

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a part of the server failed: it stops", part=task.get_name(), exc_info=error)
            self._fail()

    def _fail(self) -> None:
        self.failed = True
        self.asked.set()


async def stop(
    context: Context,
    servers: Iterable[asyncio.Server],
    front: Front,
    runners: Iterable[BoundedRunner],
    *,
    drained: bool,
) -> None:
    """End in the order that costs nobody anything; what was answered 2xx is on disk all along.

    Where it is drained, deliveries under way are waited for, and webhooks are taken meanwhile.
    """
    now = asyncio.get_running_loop().time
    began = now()
    context.stopping = True  # not ready any more, and every answer ends its connection
    context.feeds.stop()
    if drained:
        await asyncio.gather(context.hub.drain(DRAIN_S), asyncio.sleep(MOVE_S))
    await asyncio.gather(*map(_stop_listening, servers))
    last = LAST_WEBHOOK_S if drained else LAST_ANSWER_S
    await front.close(within_s=began + last - now())
    context.hub.go_away("the server restarts", GO_AWAY_S)
    await asyncio.gather(*(runner.cleanup() for runner in runners))


def on_signals(asked: asyncio.Event) -> None:
    """The first signal drains; the second ends at once, and what was answered is on disk.

    These are Python's own handlers, not the loop's: they hold until `no_more_signals`, also while
    the loop is being closed.
    """
    loop = asyncio.get_running_loop()
    signalled = False

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        nonlocal signalled
        if signalled or asked.is_set():
            os._exit(1)
        signalled = True
        loop.call_soon_threadsafe(asked.set)

    for number in SIGNALS:
        signal.signal(number, on_signal)


def no_more_signals() -> None:
    """All is done: the process ends by itself, with the status that it earned."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


async def _stop_listening(server: asyncio.Server) -> None:
    """Close the port at a moment when nobody waits to be accepted: closing would cut them off."""
    waiting = select.poll()
    for socket in server.sockets:
        waiting.register(socket.fileno(), select.POLLIN)
    ends_at = asyncio.get_running_loop().time() + BACKLOG_S
    quiet = 0
    while quiet < QUIET_TURNS and asyncio.get_running_loop().time() < ends_at:
        await asyncio.sleep(0)
        quiet = 0 if waiting.poll(0) else quiet + 1
    server.close()


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
