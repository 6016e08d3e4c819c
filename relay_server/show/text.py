"""Lines, tables and times, harmless whoever wrote them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from relay_protocol.text import harmless

Json = dict[str, Any]

MAX_CELL_CHARS = 20_000
WHOLE_COLUMNS = ("id", "received", "oldest", "setting")  # to be copied, or read at a glance


def open_console() -> Console:
    """Standard output, with colours where a person looks at it."""
    return Console(highlight=False, soft_wrap=True)


def pairs(console: Console, named: Json) -> None:
    """Names and values, a line each."""
    width = max(map(len, named)) + 2
    lines(console, *(f"{name:<{width}}{value}" for name, value in named.items()))


def lines(console: Console, *texts: object) -> None:
    """Lines as they are; they are not broken."""
    for text in texts:
        console.print(_cell(text), soft_wrap=True)


def table(console: Console, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns with a heading; nothing where there are no rows."""
    rows = list(rows)
    if not rows:
        return
    shown = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        shown.add_column(column, no_wrap=column in WHOLE_COLUMNS)
    for row in rows:
        shown.add_row(*map(_cell, row))
    console.print(shown)
    console.print()


def alarm(value: object) -> Text:
    """A cell or line that must not be overlooked."""
    return Text(plain(value), style="bold red", overflow="fold")


def plain(value: object) -> str:
    """Text that cannot steer a terminal."""
    return harmless(str(value), limit=MAX_CELL_CHARS)


def when(unix_ms: int | None) -> str:
    """A time of day here, or a dash."""
    if unix_ms is None:
        return "-"
    return datetime.fromtimestamp(unix_ms / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def duration(ms: int) -> str:
    """A span, roughly."""
    seconds = ms // 1000
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} seconds"


def counted(number: int, one: str, more: str) -> str:
    """A number of things."""
    return f"{number} {one if number == 1 else more}"


def _cell(value: object) -> Text:
    return value if isinstance(value, Text) else Text(plain(value), overflow="fold")
