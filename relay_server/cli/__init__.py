"""The command `relay-server`: a module for each noun holds its options, requests and answers.

A command reads its options, asks the API (of the server that runs on the data dir, or of itself,
alone, while none does: `control.py`) and prints the answer, as JSON or for people. What takes long
to import is imported where it is used: `--help` and `health` need none of it. A server that runs
for months keeps none of the other commands in memory: all of them together are `whole`.
"""

from __future__ import annotations

import sys

from relay_terminal.program import FAILED, USAGE, run_program


def main() -> None:
    """Run a command."""
    if sys.argv[1:2] == ["serve"]:
        from relay_server.cli.host import app
    else:
        from relay_server.cli.whole import app
    run_program("relay-server", app, lambda exc: USAGE if exc.code == "invalid_setting" else FAILED)
