"""How results look to people: lines, tables, times and policies, harmless whoever wrote them."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

from relay_protocol.text import harmless
from relay_server.cli.options import Json
from relay_terminal import layout
from relay_terminal.console import Console
from relay_terminal.layout import Colour, Painted, size, when, zoned
from relay_terminal.words import _, plural

__all__ = ["about", "alarm", "duration", "lines", "pairs", "plain", "policy_lines"]
__all__ += ["size", "span", "table", "when", "whose", "zoned"]

MAX_CELL_CHARS = 20_000  # of a body on screen; `--json` has all of it


def pairs(named: Json) -> None:
    """Names and values, a line each."""
    Console.of_process().pairs([(name, plain(value)) for name, value in named.items()])


def lines(*texts: object) -> None:
    """Lines, broken between words where the screen is narrow."""
    Console.of_process().say(*map(plain, texts))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns with a heading, and an empty line; nothing where there are no rows."""
    shown = [[plain(cell) for cell in row] for row in rows]
    if shown:
        console = Console.of_process()
        heading = [column.upper() for column in columns]
        console.say(*console.table([heading, *shown]), "")


def alarm(value: object) -> str:
    """A cell or line that must not be overlooked."""
    return Console.of_process().paint(plain(value), Colour.ALARM)


def plain(value: object) -> str:
    """Text that cannot steer a terminal."""
    return value if isinstance(value, Painted) else harmless(str(value), limit=MAX_CELL_CHARS)


def about(event: Json) -> str:
    """What an event of a list is, and which key its order is kept by."""
    what = str(event["kind"] or event["method"])
    if not event["key"]:
        return what
    return _("{what}, conversation {key}").format(what=what, key=event["key"])


def whose(record: Json) -> str:
    """A subscription, and which channel's."""
    names = record["subscription"], record["channel"]
    return _("{subscription} of {channel}").format(subscription=names[0], channel=names[1])


def duration(ms: int) -> str:
    """A span, roughly."""
    return layout.duration(ms / 1_000)


def policy_lines(policy: Json, own: Container[str] | None = None) -> Json:
    """A line a rule.

    Args:
        policy: What holds in the end.
        own: Names of what a subscription does otherwise than its channel; None of a channel.
    """
    order = _("an event that fails holds its conversation until it is settled")
    if not policy["strict_order"]:
        failures = plural("{number} failure", "{number} failures", policy["hold_failures"])
        order = _("a failing event holds its conversation for {failures} or {span}").format(
            failures=failures, span=span(policy["hold_s"])
        )
    delays = ",".join(map(span, policy["retry_delays_s"]))
    shown = {
        _("retried after"): (
            delays or _("never: the first failure is the end"),
            ("retry_delays_s",),
        ),
        _("other answers"): (
            plural("{number} attempt", "{number} attempts", policy["other_tries"]),
            ("other_tries",),
        ),
        _("order"): (order, ("strict_order", "hold_failures", "hold_s")),
    }
    return {name: text + _whose(names, own) for name, (text, names) in shown.items()}


def span(seconds: float) -> str:
    """A span as the commands take it, e.g. `2m`."""
    for unit, factor in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= factor and seconds % factor == 0:
            return f"{seconds // factor:g}{unit}"
    return f"{seconds:g}s"


def _whose(names: Sequence[str], own: Container[str] | None) -> str:
    if own is None:
        return ""
    return _(" (its own)") if any(name in own for name in names) else _(" (as its channel)")
