"""What the client's modules took from here before it was shared."""

from __future__ import annotations

from relay_terminal.console import Console
from relay_terminal.layout import Colour, duration, padded, table, width

__all__ = ["Colour", "Console", "counted", "duration", "padded", "table", "width"]


def counted(number: int, noun: str) -> str:
    """Say a number of things, e.g. `1 webhook`, `12 webhooks`."""
    return f"{number} {noun}" if number == 1 else f"{number:,} {noun}s"
