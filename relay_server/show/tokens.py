"""Tokens."""

from __future__ import annotations

from relay_server.show.text import Json, lines, open_console, table, when


def tokens(result: Json) -> None:
    """A line a token."""
    table(
        open_console(),
        ("token", "scopes", "channels", "made"),
        [
            (t["name"], ", ".join(t["scopes"]), _channels(t), when(t["created_at"]))
            for t in result["tokens"]
        ],
    )


def new_token(result: Json) -> None:
    """The secret, alone on its line so that it can be copied."""
    console = open_console()
    lines(
        console,
        f"Token {result['name']} ({', '.join(result['scopes'])} on {_channels(result)}):",
        "",
        result["token"],
        "",
        "It is shown this once: only a digest of it is kept.",
    )


def _channels(token: Json) -> str:
    return "every channel" if token["channels"] is None else ", ".join(token["channels"])
