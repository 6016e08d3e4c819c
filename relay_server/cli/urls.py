"""Where senders post to and clients log in: what somebody copies once a token is there."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from relay_server.cli.options import Json
from relay_server.cli.text import lines
from relay_terminal.words import _

if TYPE_CHECKING:
    from relay_server.control import Api


def webhook_urls(url: str, path: str, token: str) -> Json:
    """The URL of a channel with a token in it, in both forms."""
    parts = urlsplit(url)
    return {
        "webhook_url": f"{parts.scheme}://relay:{token}@{parts.netloc}{path}",
        "webhook_url_query": f"{url}{path}?token={token}",
    }


def client_command(url: str) -> str:
    """What a developer types, with the token at hand."""
    return f"relay-client login {url} && relay-client connect --to localhost:8000"


async def uses_of(api: Api, token: Json) -> Json:
    """What a token that was just made is good for: a URL a channel, and the client's command."""
    url = (await api.call("GET", "status"))["public_url"]
    uses: Json = {"url": url}
    if "send" in token["scopes"]:
        found = (await api.call("GET", "channels"))["channels"]
        uses["webhook_urls"] = [
            {"channel": one["name"], **webhook_urls(url, one["webhook_path"], token["token"])}
            for one in found
            if token["channels"] is None or one["name"] in token["channels"]
        ]
    if not {"subscribe", "admin"}.isdisjoint(token["scopes"]):
        uses["client_command"] = client_command(url)
    return uses


def show_webhook_urls(urls: Json) -> None:
    """Both forms, each alone on its line so that it can be copied."""
    lines(
        f"  {urls['webhook_url']}",
        _("or, for a sender that takes no user and password in its URL:"),
        f"  {urls['webhook_url_query']}",
        "",
    )


def show_login(url: str, token: str | None) -> None:
    """What is typed on the laptop."""
    lines(_("On the laptop, with your app on port 8000:"), f"  relay-client login {url}")
    if token:
        lines(_("  (the token it asks for: {token})").format(token=token))
    lines("  relay-client connect --to localhost:8000", "")
