"""How results look to people: lines, tables, times and policies, harmless whoever wrote them."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from relay_protocol.text import harmless
from relay_server.cli.options import Json

if TYPE_CHECKING:  # rich is imported where something is printed: `--help` need not wait for it
    from rich.console import Console
    from rich.text import Text

MAX_CELL_CHARS = 20_000  # of a body on screen; `--json` has all of it
WHOLE_COLUMNS = ("id", "received", "oldest", "setting")  # to be copied, or read at a glance


def pairs(named: Json) -> None:
    """Names and values, a line each."""
    width = max(map(len, named)) + 2
    lines(*(f"{name:<{width}}{value}" for name, value in named.items()))


def lines(*texts: object) -> None:
    """Lines as they are; they are not broken."""
    console = _console()
    for text in texts:
        console.print(_cell(text), soft_wrap=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns with a heading; nothing where there are no rows."""
    from rich.table import Table

    rows = list(rows)
    if not rows:
        return
    shown = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        shown.add_column(column, no_wrap=column in WHOLE_COLUMNS)
    for row in rows:
        shown.add_row(*map(_cell, row))
    console = _console()
    console.print(shown)
    console.print()


def alarm(value: object) -> Text:
    """A cell or line that must not be overlooked."""
    from rich.text import Text

    return Text(plain(value), style="bold red", overflow="fold")


def plain(value: object) -> str:
    """Text that cannot steer a terminal."""
    return harmless(str(value), limit=MAX_CELL_CHARS)


def about(event: Json) -> str:
    """What an event of a list is, and which key its order is kept by."""
    what = str(event["kind"] or event["method"])
    return f"{what}, key {event['key']}" if event["key"] else what


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


def size(number: int) -> str:
    """Bytes, roughly."""
    for unit, factor in (("GiB", 1_073_741_824), ("MiB", 1_048_576), ("KiB", 1_024)):
        if number >= factor:
            return f"{number / factor:.3g} {unit}"
    return f"{number} bytes"


def policy_lines(policy: Json, own: Container[str] | None = None) -> Json:
    """A line a rule.

    Args:
        policy: What holds in the end.
        own: Names of what a subscription does otherwise than its channel; None of a channel.
    """
    order = "an event that fails holds its key until it is settled"
    if not policy["strict_order"]:
        failures = counted(policy["hold_failures"], "failure", "failures")
        order = f"a failing event holds its key for {failures} or {span(policy['hold_s'])}"
    delays = ",".join(map(span, policy["retry_delays_s"]))
    shown = {
        "retried after": (delays or "never: the first failure is the end", ("retry_delays_s",)),
        "other answers": (counted(policy["other_tries"], "try", "tries"), ("other_tries",)),
        "order": (order, ("strict_order", "hold_failures", "hold_s")),
    }
    return {name: text + _whose(names, own) for name, (text, names) in shown.items()}


def span(seconds: float) -> str:
    """A span as the commands take it, e.g. `2m`."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds // size:g}{unit}"
    return f"{seconds:g}s"


def _whose(names: Sequence[str], own: Container[str] | None) -> str:
    if own is None:
        return ""
    return " (its own)" if any(name in own for name in names) else " (as its channel)"


def _console() -> Console:
    """Standard output, with colours where a person looks at it."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


def _cell(value: object) -> Text:
    from rich.text import Text

    return value if isinstance(value, Text) else Text(plain(value), overflow="fold")
