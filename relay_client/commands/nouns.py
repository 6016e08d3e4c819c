"""Groups of commands that are named for a noun."""

from __future__ import annotations

from typing import Any

from relay_terminal.usage import Commands


class Listing(Commands):
    """Commands on things of one kind: where none is named, they are listed."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read what stands behind the noun."""
        help_names = ctx.help_option_names
        if not args or (args[0].startswith("-") and args[0] not in help_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)
