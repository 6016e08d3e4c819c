"""What a doctor looks at, a line for each, and how that is told; both programs have one."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from relay_protocol.errors import RelayError
from relay_protocol.text import harmless
from relay_terminal.console import Console
from relay_terminal.layout import Colour, behind, padded
from relay_terminal.retold import told
from relay_terminal.words import N_, _

_MARK_CELLS, _NAME_CELLS = 8, 15
_TEXT_CHARS = 1_000  # of a detail or a hint that are shown

# What is looked at, as people read it: JSON has the same in English, with `_` for a space.
NAMES = {N_("configuration"), N_("relay"), N_("version"), N_("token"), N_("feed"), N_("clocks")}
NAMES |= {N_("connections"), N_("status"), N_("channel"), N_("subscription"), N_("doctor")}
NAMES |= {N_("canary channel"), N_("websocket"), N_("ingest"), N_("delivery"), N_("target")}
NAMES |= {N_("result"), N_("clean-up"), N_("server"), N_("store"), N_("canary"), N_("chatwoot")}
NAMES |= {N_("public url"), N_("dns"), N_("reachable"), N_("slow"), N_("private"), N_("alias")}
NAMES |= {N_("installed"), N_("double"), N_("token in url"), N_("secret"), N_("log only")}
NAMES |= {N_("old secrets"), N_("events"), N_("inbox"), N_("keep pending"), N_("bot token")}
NAMES |= {N_("traffic"), N_("refused"), N_("loop"), N_("paused"), N_("twice")}


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was looked at.

    Attributes:
        ok: None when it was left out.
        hint: What to do about it.
        warning: It works, and something is not as it should be.
    """

    name: str
    ok: bool | None
    detail: str = ""
    hint: str = ""
    warning: bool = False


class Report:
    """Collects steps, and writes each one as soon as it is taken.

    Attributes:
        exit_status: That of the first step that failed; 0 where none did.
    """

    def __init__(
        self, console: Console, as_json: bool, status_of: Callable[[RelayError], int]
    ) -> None:
        self.steps: list[Step] = []
        self.exit_status = 0
        self._console = console
        self._as_json = as_json
        self._status_of = status_of

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[list[str]]:
        """Take a step: the body puts what it found into the list, and raises when it failed."""
        found: list[str] = []
        try:
            yield found
        except RelayError as exc:
            self.failed(name, exc)
            raise
        self.add(Step(name, True, "; ".join(found)))

    def failed(self, name: str, error: RelayError) -> None:
        """Note a step that failed; whoever took it may go on."""
        self.exit_status = self.exit_status or self._status_of(error)
        self.add(Step(name, False, *told(error)))

    def warned(self, name: str, detail: str, hint: str = "") -> None:
        """Note a step that went well, with what should be known of it."""
        self.add(Step(name, True, detail, hint, warning=True))

    def add(self, step: Step) -> None:
        self.steps.append(step)
        if self._as_json:
            return
        word, colour = _mark(step)
        mark = self._console.paint(padded(word, _MARK_CELLS), colour)
        name = _(step.name.replace("_", " "))
        self._column(f"{mark}{padded(name, _NAME_CELLS)}", step.detail)
        if step.hint:
            self._column(" " * (_MARK_CELLS + _NAME_CELLS), f"-> {step.hint}")

    def _column(self, before: str, text: str) -> None:
        """Write a text behind the marks and names, broken there where the screen is narrow."""
        for line in behind(before, harmless(text, _TEXT_CHARS), self._console.cells):
            self._console.line(line)

    def finish(self) -> None:
        """Write the whole, where it is for programs."""
        if self._as_json:
            ok = self.exit_status == 0
            self._console.line(json.dumps({"ok": ok, "steps": [asdict(s) for s in self.steps]}))


def _mark(step: Step) -> tuple[str, Colour]:
    if step.warning:
        return _("warning"), Colour.CARE
    match step.ok:
        case True:
            return _("ok"), Colour.GOOD
        case False:
            return _("FAILED"), Colour.BAD
        case None:
            return _("skipped"), Colour.CARE
