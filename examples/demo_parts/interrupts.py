"""Ctrl-C and its like end the demo in order."""

from __future__ import annotations

import asyncio
import signal


class Interrupts:
    """Cancels the running task at Ctrl-C, SIGTERM, or when the terminal is closed.

    Attributes:
        by_a_person: It was Ctrl-C.
    """

    def __init__(self) -> None:
        self.by_a_person = False
        self._task = asyncio.current_task()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self._interrupt, number)

    def ignore(self) -> None:
        """From now on the task is left alone: it tidies up."""
        self._task = None

    def _interrupt(self, number: int) -> None:
        self.by_a_person = self.by_a_person or number == signal.SIGINT
        if self._task is not None:
            self._task.cancel()
