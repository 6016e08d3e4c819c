"""A bot's log on a terminal, a line each: when, how bad, what happened, and to whom."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

FACTS = ("account", "conversation", "turn", "hint")


class _Lines(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (it is logging's)
        known = ((name, getattr(record, name, "")) for name in FACTS)
        facts = [f"{name}={value}" for name, value in known if value]
        when, level = self.formatTime(record, "%H:%M:%S"), record.levelname.lower()
        return "  ".join([when, level, record.getMessage(), *facts])


@contextmanager
def logging_to(stream: TextIO) -> Iterator[None]:
    """Write the log to a stream, as long as the block."""
    log, handler = logging.getLogger("relay.bot"), logging.StreamHandler(stream)
    handler.setFormatter(_Lines())
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
