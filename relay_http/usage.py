"""What both programs' commands have in common: a wrong value is told in people's words."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from relay_protocol.text import plainly


class Commands(TyperGroup):
    """A program's commands; typer has pydantic read what they are given, and say what is wrong."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command, whose own group and options are read on the way."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as exc:
            exc.message = plainly(exc.message)
            raise
