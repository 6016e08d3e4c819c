"""Text laid out for people: columns, lines of a screen's width, numbers, sizes and times. Pure.

Widths are in cells of a terminal; codes that colour take none. Nothing is ever broken inside a
word, nor a time between its date and its clock: what has no room in a table's line is broken
between words in its widest column, and where that does not help each row becomes lines of its own,
`heading: value`.
"""

from __future__ import annotations

import enum
import re
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import accumulate, zip_longest

from relay_protocol.limits import MAX_UNIX_MS
from relay_protocol.text import ZERO_WIDTH_JOINER
from relay_terminal.words import plural

GAP = "  "  # between columns
_NARROW_CELLS = 16  # of the beginning of a text, at least; of others the half
_CODES = re.compile(r"\x1b\[[0-9;]*m")
_PAINTED = re.compile(r"(\x1b\[[0-9;]+m)([^\x1b]*)(\x1b\[0m)")
_NUMBER = re.compile(r"[0-9][0-9.,]*( %)?|-")
# A time stays whole, also with its zone.
_BREAK = re.compile(r"(?:(?<![0-9]{4}-[0-9]{2}-[0-9]{2}) | (?![0-9]{2}:[0-9]{2}))(?![+-][0-9]{2}:)")
# A sentence ends with a full stop, or goes on behind a comma.
_COMMAND = re.compile(r" *relay-(client|server) (?!.*, ).*[^.]")

_AT_END = re.compile(r"(?<=: )relay-(client|server) [^.,]*$")


class Colour(enum.StrEnum):
    """ANSI codes (ECMA-48 §8.3.117)."""

    GOOD = "32"
    BAD = "31"
    ALARM = "1;31"
    CARE = "33"
    DIM = "2"
    BOLD = "1"


class Painted(str):
    """Text with codes that colour it, made harmless before."""

    __slots__ = ()


def width(text: str) -> int:
    """Count the terminal cells that a text takes."""
    if "\x1b" in text:
        text = _CODES.sub("", text)
    if text.isascii():
        return len(text)
    return sum(_cells(char) for char in text)


def padded(text: str, cells: int) -> str:
    """Fill a text up with spaces to a width in terminal cells."""
    return text + " " * (cells - width(text))


def wrapped(text: str, cells: int, hanging: int = 0) -> list[str]:
    """Break a text between words into lines of so many cells.

    They are indented as the first one is, or further. A command stays whole, so that it can be
    copied; one at the end of a sentence where a line has room for it. 0 cells are room for
    everything.
    """
    if not cells or width(text) <= cells or _COMMAND.fullmatch(text):
        return [text]
    if painted := _PAINTED.fullmatch(text):
        before, inside, after = painted.groups()
        return [before + line + after for line in wrapped(inside, cells, hanging)]
    indent = " " * (len(text) - len(text.lstrip(" ")))
    lines, rest = [indent], text[len(indent) :]
    command = _AT_END.search(rest)
    if command and width(indent) + hanging + width(command[0]) > cells:
        command = None
    before = rest[: command.start() - 1] if command else rest
    for word in [*_BREAK.split(before), *([command[0]] if command else [])]:
        begun = bool(lines[-1].strip())
        longer = f"{lines[-1]} {word}" if begun else lines[-1] + word
        if begun and width(longer) > cells:
            lines.append(indent + " " * hanging + word)
        else:
            lines[-1] = longer
    return [line.rstrip() for line in lines]


def table(rows: Sequence[Sequence[str]], cells: int = 0, *, cut: bool = False) -> list[str]:
    """Align rows, the first of which is the heading, into lines of so many cells at most.

    Args:
        rows: Columns that have a heading alone are left out.
        cells: Of the screen; 0 is room for everything.
        cut: The last column is free text, of which the beginning is enough.
    """
    columns = [column for column in zip(*rows, strict=True) if any(column[1:])]
    widths = _fitting(columns, cells, cut=cut)
    if widths is None:
        return _stacked([*zip(*columns, strict=True)], cells)
    if cut:
        columns[-1] = tuple(shortened(cell, widths[-1]) for cell in columns[-1])
    numbers = [_is_of_numbers(column[1:]) for column in columns]
    lines = list[str]()
    for row in zip(*columns, strict=True):
        broken = map(wrapped, row, widths)
        for parts in zip_longest(*broken, fillvalue=""):
            lines.append(GAP.join(map(_aligned, parts, widths, numbers)).rstrip())
    return lines


def shortened(text: str, cells: int) -> str:
    """The beginning of a text, with an ellipsis where there is more."""
    if width(text) <= cells:
        return text
    begun = list(accumulate(text, initial=""))
    return next((part for part in reversed(begun) if width(part) < cells), "") + "…"


def pairs(named: Iterable[tuple[str, str]], cells: int = 0) -> list[str]:
    """Names and what they stand for, a line each, broken between words behind its name."""
    named = list(named)
    before = max((width(name) for name, _ in named), default=0) + len(GAP)
    return [line for name, value in named for line in behind(padded(name, before), value, cells)]


def behind(before: str, text: str, cells: int) -> list[str]:
    """Break a text between words in the room that is left behind another one, on each line.

    A command at its end that is wider than that stays whole, as far to the left as it takes.
    """
    indent, command = width(before), _AT_END.search(text)
    room = max(cells - indent, _NARROW_CELLS) if cells else 0
    whole = list[str]()
    if command and room < width(command[0]) <= cells:
        whole, text = [command[0].rjust(cells)], text[: command.start()].rstrip()
    begun, *more = wrapped(text, room)
    return [(before + begun).rstrip(), *(" " * indent + line for line in more), *whole]


def duration(seconds: float) -> str:
    """Say a time span roughly, e.g. `12 s`, `5 min`, `3 h`, `2 d`."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def when(unix_ms: int | None, *, zoned: bool = False) -> str:
    """A time here, `2026-11-29 12:04:09`, with its zone where none is said beside; or a dash."""
    if unix_ms is None or not 0 <= unix_ms <= MAX_UNIX_MS:
        return "-"
    try:
        here = datetime.fromtimestamp(unix_ms / 1_000, UTC).astimezone()
    except (OverflowError, ValueError):  # the year 10,000 begins earlier in the east
        return "-"
    return here.strftime("%Y-%m-%d %H:%M:%S") + (f" {_zone(here)}" if zoned else "")


def zone() -> str:
    """The zone of `when`, for a heading: `-03:00`."""
    return _zone(datetime.now(UTC).astimezone())


def zoned(heading: str) -> str:
    """The heading of a column of times: `oldest (-03:00)`."""
    return f"{heading} ({zone()})"


def size(number: int) -> str:
    """Bytes, roughly: `1.2 MiB`."""
    for unit, factor in (("GiB", 1_073_741_824), ("MiB", 1_048_576), ("KiB", 1_024)):
        if number >= factor:
            return f"{number / factor:.3g} {unit}"
    return plural("{number} byte", "{number} bytes", number)


def _fitting(columns: Sequence[Sequence[str]], cells: int, *, cut: bool) -> list[int] | None:
    """Widths with which columns fit, the widest made narrower first; None where they cannot."""
    widths = [max(map(width, column)) for column in columns]
    over = sum(widths) + len(GAP) * (len(widths) - 1) - cells if cells else 0
    for index in sorted(range(len(widths)), key=lambda index: -widths[index]):
        if over <= 0:
            break
        words = (word for cell in columns[index] for word in _BREAK.split(cell))
        is_cut = cut and index == len(widths) - 1
        least = _NARROW_CELLS if is_cut else max(map(width, words))
        spared = min(over, max(0, widths[index] - max(least, _NARROW_CELLS // 2)))
        widths[index] -= spared
        over -= spared
    return widths if over <= 0 else None


def _stacked(rows: Sequence[Sequence[str]], cells: int) -> list[str]:
    """Each row as lines: what its first column has, and the others below with their headings."""
    headings = [_CODES.sub("", heading).lower() for heading in rows[0]]
    lines = list[str]()
    for row in rows[1:]:
        lines += wrapped(row[0], cells)
        for heading, cell in zip(headings[1:], row[1:], strict=True):
            lines += wrapped(f"  {heading}: {cell}", cells, 2) if cell else []
    return lines


def _is_of_numbers(column: Sequence[str]) -> bool:
    return all(_NUMBER.fullmatch(_CODES.sub("", cell)) for cell in column)


def _aligned(cell: str, cells: int, right: bool) -> str:
    return " " * (cells - width(cell)) + cell if right else padded(cell, cells)


def _zone(here: datetime) -> str:
    text = here.strftime("%z")
    return f"{text[:3]}:{text[3:5]}"


def _cells(char: str) -> int:
    if char == ZERO_WIDTH_JOINER or unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
