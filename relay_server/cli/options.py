"""What several commands take, and how they print."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder of the store [RELAY_SERVER_DATA_DIR].")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON alone.")]
Name = Annotated[str, typer.Argument(help="Its name.")]
OfChannel = Annotated[str, typer.Argument(metavar="CHANNEL", help="Its channel.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Channel = Annotated[str | None, typer.Option(help="Of which channel.")]
Subscription = Annotated[str | None, typer.Option(help="For which subscription alone.")]
Rate = Annotated[float | None, typer.Option(help="Deliveries a second at most. (default: 200)")]

RetryDelays = Annotated[
    str | None,
    typer.Option(
        help="Waits after each failure, e.g. 5s,30s,2m; after the last the delivery is dead."
        " none for no retries."
    ),
]
OtherTries = Annotated[
    int | None, typer.Option(help="Tries of what hardly changes: a 3xx, or a 4xx such as 404.")
]
HoldFailures = Annotated[
    int | None, typer.Option(help="Failures after which an event lets those behind it go on …")
]
HoldS = Annotated[float | None, typer.Option(help="… or seconds after which it does.")]
StrictOrder = Annotated[
    bool | None,
    typer.Option(
        "--strict-order/--no-strict-order",
        help="An event that fails holds its conversation until it is settled.",
    ),
]


def printed(result: dict[str, Any], render: Callable[[Any], None], *, as_json: bool) -> None:
    """Print a result: as JSON alone, or for people."""
    if as_json:
        text = json.dumps(result, ensure_ascii=False)
        # What a sender wrote must not steer a terminal, not even as JSON.
        typer.echo(text if text.isprintable() else json.dumps(result))
        return
    render(result)
