"""Commands on one's own subscriptions."""

from __future__ import annotations

from typing import Annotated

import typer

from relay_client.commands.meant import channel_of, name_of
from relay_client.options import Given, Name, asking
from relay_protocol.text import harmless
from relay_terminal.usage import App

app = App()


@app.command()
@asking
async def resume(
    given: Given,
    channel: Annotated[
        str | None, typer.Option(help="Its channel. (default: the token's, or chatwoot)")
    ] = None,
    name: Name = None,
) -> None:
    """Go on with a subscription that was paused because your app answered 410."""
    where, who = await channel_of(given), await name_of(given)
    await given.api.resume(where, who)
    text = f"{harmless(who)} goes on: what waited of {harmless(where)} is delivered now."
    given.show({"channel": where, "subscription": who, "resumed": True}, lambda: [text])
