"""The options that say which events are meant: the same in each command of both programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from relay_terminal.usage import Old
from relay_terminal.words import _, counted

MAX_LAST = 1_000  # of `replay --last`: so many events can be named at once

Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[FILTER]…",
        help='Those that it means, such as kind:message_created -is:private "bom dia".',
    ),
]
Filter = Annotated[str | None, typer.Option("--filter", help="The same, as an option.")]
Since = Annotated[
    str | None, typer.Option("--since", help="Received since: 2h, 3d, or a time (RFC 3339).")
]
Until = Annotated[str | None, typer.Option("--until", help="Received before: the same.")]
Kind = Annotated[str | None, typer.Option("--kind", help="Of this kind, e.g. message_created.")]
Key = Annotated[
    str | None,
    typer.Option("--conversation", Old("--key"), help="Of this conversation, or other key."),
]
State = Annotated[
    str | None, typer.Option(help="With a delivery that is waiting, failed, dead, delivered …")
]
Text = Annotated[str | None, typer.Option("--text", help="With this text in the body.")]
Meant = Annotated[
    str | None, typer.Option("--filter", help="That a filter means, e.g. 'from:customer bolo'.")
]
First = Annotated[
    int | None, typer.Option("--first", metavar="SEQUENCE", help="From this sequence on.")
]
Through = Annotated[
    int | None, typer.Option("--through", metavar="SEQUENCE", help="Up to this sequence.")
]
Last = Annotated[
    int | None,
    typer.Option("--last", min=1, metavar="N", help="The newest so many of them."),
]
Dead = Annotated[bool, typer.Option("--dead", help="Those that are dead.")]
All = Annotated[bool, typer.Option("--all", help="Everything that is kept.")]


def ranged(
    first: int | None, through: int | None, last: int | None
) -> tuple[int | None, int | None]:
    """`--through` and `--last`; behind `--first` a `--last` is a sequence, as it was before."""
    return (through, last) if first is None or last is None else (last, None)


def unclear(asked: Mapping[str, Any], others: Mapping[str, Any], last: int | None) -> str:
    """Say why it is not clear which events are to be replayed; empty where it is.

    Args:
        asked: Conditions that lists of events can be asked for with, too.
        others: Those that are beside: ids, sequences, `dead`, `all`.
        last: How many of the newest; None for all of them.
    """
    if not asked and not others and last is None:
        return _("nothing says which events are meant: ids, a condition, or --all that are kept")
    if "all" in others and (len(others) > 1 or asked or last is not None):
        return _("--all goes with no other condition")
    if last is not None and others:
        return _("--last goes with a filter, a kind, a conversation, a text or a time")
    if last is not None and last > MAX_LAST:
        return _("--last takes up to {number}").format(number=counted(MAX_LAST))
    return ""


def said(conditions: Mapping[str, Any]) -> dict[str, Any]:
    """Those that were given; an empty key or kind is one: events that have none."""
    return {name: value for name, value in conditions.items() if value is not None}
