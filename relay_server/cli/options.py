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


def printed(result: dict[str, Any], render: Callable[[Any], None], *, as_json: bool) -> None:
    """Print a result: as JSON alone, or for people."""
    if as_json:
        typer.echo(json.dumps(result, ensure_ascii=False))
        return
    render(result)
