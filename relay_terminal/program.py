"""A command's beginning and end: its streams, and the one place where errors become exit statuses.

An error is told on standard error in two lines, what happened and what to do. With `--json` it is
told on standard output instead, as the API tells its own: `{"error": {"code", "message", "hint"}}`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import typer

from relay_protocol.errors import RelayError
from relay_protocol.text import harmless
from relay_terminal import retold
from relay_terminal.beginning import INTERRUPTED
from relay_terminal.console import Console
from relay_terminal.layout import Colour
from relay_terminal.streams import standard_streams
from relay_terminal.usage import WrongUsage, made, told
from relay_terminal.words import _, speak_english

FAILED, USAGE = 1, 2
_MAX_CHARS = 1_000


class NobodyAnswered(RelayError, code="nobody_answered"):
    """A question was asked where nobody is there to answer it."""

    hint = "--yes does it without asking."


def run_program(name: str, app: typer.Typer, status_of: Callable[[RelayError], int]) -> None:
    """Run a program's command, and end with its status.

    Raises:
        SystemExit: Always but for a command that ends by itself, with 0.
    """
    with standard_streams():
        console = Console.of_process()
        as_json = "--json" in sys.argv[1:]
        if as_json:
            speak_english()
        try:
            status = made(app)(prog_name=name, obj=console, standalone_mode=False)
        except RelayError as exc:
            tell(console, exc.code, *retold.told(exc), as_json=as_json)
            sys.exit(status_of(exc))
        except WrongUsage as exc:
            tell(console, "usage", *told(exc), as_json=as_json)
            sys.exit(USAGE)
        except typer.Abort as exc:
            sys.exit(INTERRUPTED if isinstance(exc.__cause__, KeyboardInterrupt) else FAILED)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
        sys.exit(status if isinstance(status, int) else 0)


def tell(console: Console, code: str, message: str, hint: str, *, as_json: bool) -> None:
    """Say what went wrong, and what to do."""
    if as_json:
        error = {"code": code, "message": message, "hint": hint}
        console.line(json.dumps({"error": error}))
        return
    begun = _("Error:")
    if console.err.isatty():
        begun = console.paint(begun, Colour.BAD)
    console.note(f"{begun} {harmless(message, _MAX_CHARS)}")
    if hint:
        console.note(harmless(hint, _MAX_CHARS))


def confirmed(question: str, *, yes: bool) -> None:
    """Ask on standard error before what cannot be undone.

    Raises:
        NobodyAnswered: There is nobody to be asked.
        typer.Abort: The answer is not yes.
    """
    if yes:
        return
    console = Console.of_process()
    console.err.write(_("{question} [y/N]: ").format(question=harmless(question, _MAX_CHARS)))
    console.err.flush()
    answer = sys.stdin.readline()
    if not console.asks:
        console.err.write("\n")
    if not answer:
        raise NobodyAnswered(_("nobody is here to answer"))
    if answer.strip().lower() not in ("y", "yes", *_("y yes").split()):
        console.note(_("Nothing was done."))
        raise typer.Abort
