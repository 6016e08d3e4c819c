"""`relay-server invite …`: a line to send, of which somebody's client makes a token of its own."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from relay_server.cli.command import Work, ask, command, route
from relay_server.cli.options import Json
from relay_server.cli.text import lines, table, when, zoned
from relay_terminal.usage import App, Commands
from relay_terminal.words import N_, _


class Inviting(Commands):
    """`invite NAME` is short for `invite create NAME`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the command in where none is named."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["create", *args]
        return super().parse_args(ctx, args)


STATES = (N_("open"), N_("used"), N_("expired"))

app = App("Lines to send, each good for a token, once.", cls=Inviting)


def show_invitation(result: Json) -> None:
    """The line, alone, so that it can be copied."""
    lines(
        _("Send this line to {name}:").format(name=result["name"]),
        "",
        f"  relay-client login {result['url']}",
        "",
        _(
            "It is good once, until {time}, for a token that may receive from {channels}."
            " It is shown this once."
        ).format(
            time=when(result["expires_at"], zoned=True), channels=", ".join(result["channels"])
        ),
    )


def show_invitations(result: Json) -> None:
    if not result["invitations"]:
        lines(_("Nobody is invited: relay-server invite NAME --channel CHANNEL does it."))
    table(
        (_("invited"), _("channels"), _("state"), *map(zoned, (_("made"), _("ends"), _("used")))),
        [
            (
                one["name"],
                ", ".join(one["channels"]),
                _(one["state"]),
                when(one["created_at"]),
                when(one["expires_at"]),
                when(one["used_at"]),
            )
            for one in result["invitations"]
        ],
    )


@command(app, "create", show_invitation)
def invite(
    name: Annotated[str, typer.Argument(help="Of whoever is invited, and of the token.")],
    channel: Annotated[list[str], typer.Option(help="Where it is good. Repeat for more.")],
) -> Work:
    """Invite somebody to receive from a channel: prints a line to send, good once, for 24 hours."""
    return ask("POST", "invitations", body={"name": name, "channels": channel})


@route(app, "list", "GET invitations", show_invitations)
def invite_list() -> None:
    """List the invitations that are open, and those that ended lately."""


@route(app, "revoke", "DELETE invitations/{name}", "The invitation for {name} is good no more.")
def invite_revoke() -> None:
    """Withdraw an invitation that nobody has used yet."""
