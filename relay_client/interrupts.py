"""Ctrl-C and its like end what runs in good order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Turns the first Ctrl-C or SIGTERM into a stop, and the next into an end at once."""

    def __init__(self) -> None:
        self.on_first: Callable[[], None] | None = None
        self.count = 0
        self._task = asyncio.current_task()

    def interrupt(self) -> None:
        """One of the signals came."""
        self.count += 1
        if self.count == 1 and self.on_first is not None:
            self.on_first()
        elif self._task is not None:
            self._task.cancel()

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        for number in _SIGNALS:
            try:
                loop.add_signal_handler(number, self.interrupt)
            except NotImplementedError:  # Windows
                signal.signal(number, lambda *_: loop.call_soon_threadsafe(self.interrupt))
        try:
            yield
        finally:
            for number, handler in before.items():
                with contextlib.suppress(NotImplementedError):
                    loop.remove_signal_handler(number)
                signal.signal(number, handler)
