"""`relay-client wait`: until an event came and was delivered, for tests.

What is awaited is looked at whenever the feed speaks of it: the event is asked for, whole, and says
how its delivery is. Nothing is lost between the two, as the feed began before.
"""

from __future__ import annotations

import re
import time
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import typer

from relay_client.commands.lines import own, state_of
from relay_client.commands.meant import (
    channel_of,
    event_of,
    filter_of,
    name_of,
    names_event,
)
from relay_client.errors import (
    ClientError,
    NotDelivered,
    RelayUnreachable,
    TimedOut,
    UsageError,
)
from relay_client.options import Channel, Given, Name, asking
from relay_protocol.text import harmless, short_id
from relay_protocol.times import parse_span
from relay_terminal.meant import Filter
from relay_terminal.retold import retold
from relay_terminal.usage import App, Filtering
from relay_terminal.words import _

if TYPE_CHECKING:
    from relay_client.answers import Delivery, EventWhole
    from relay_client.feed import Message

app = App()

MAX_SEEN = 1_000  # events that came and are not decided; those behind them are not looked at
STATUS = re.compile(r"[1-9][0-9]{2}|[1-9]xx")


@app.command(cls=Filtering)
@asking
async def wait(
    given: Given,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILTER]…", help="The event that it means, or one by its id. (default: any)"
        ),
    ] = None,
    q: Filter = None,
    timeout: Annotated[str, typer.Option(metavar="SPAN", help="How long, e.g. 30s or 2m.")] = "30s",
    cursor: Annotated[
        str | None,
        typer.Option(
            "--since-cursor",
            metavar="CURSOR",
            help="From there on, as send printed it. (default: now)",
        ),
    ] = None,
    status: Annotated[str, typer.Option(help="What your app is to answer: 2xx, 404, 5xx.")] = "2xx",
    channel: Channel = None,
    name: Name = None,
) -> None:
    """Wait until an event came and your app answered it: for tests.

    Exit status 7: it did not in time. 8: it came, and was not delivered so.
    """
    import asyncio

    if not STATUS.fullmatch(status.lower()):
        raise UsageError(
            _("--status {status!r} is no status").format(status=status), _("Write 200, or 2xx.")
        )
    try:
        within_s = parse_span(timeout)
    except ValueError as exc:
        raise UsageError(f"--timeout {exc}") from exc
    awaited = Awaited(given, await name_of(given), status.lower(), time.time() + within_s)
    try:
        async with asyncio.timeout(within_s):
            event = await awaited.event(filter_of(words, q) or "", cursor)
    except TimeoutError as exc:
        raise awaited.missed(timeout) from exc
    delivery = own(event.deliveries, awaited.name)
    assert delivery is not None
    whole = {
        "id": event.id,
        "state": delivery.state,
        "status": delivery.status,
        "attempt": delivery.attempt,
    }
    text = f"{event.id}  {state_of(delivery)}"
    given.show(whole, lambda: [harmless(text)])


@dataclass
class Awaited:
    """An event that is waited for, and what is known of those that came.

    Attributes:
        name: The subscription.
        status: What its target is to answer.
        until: When the wait ends, in Unix seconds.
    """

    given: Given
    name: str
    status: str
    until: float
    _seen: dict[str, Delivery | None] = field(default_factory=dict)

    async def event(self, q: str, cursor: str | None) -> EventWhole:
        """The first one whose delivery is decided.

        Raises:
            NotDelivered: Otherwise than it is to be.
        """
        from relay_client.feed import Feed, channel_at

        if names_event(q):
            id_ = await event_of(self.given, q)
            whole = (await self.given.api.event(id_)).read()
            feed = Feed(self.given.api, whole.channel, state=True)
            self._seen[id_] = None
        else:
            channel = channel_at(cursor) if cursor else await channel_of(self.given)
            feed = Feed(self.given.api, channel, q, cursor or "", state=True)
        async with aclosing(feed.messages()) as messages:
            async for message in messages:
                for id_ in self._concerned(message):
                    # A relay that restarts is asked again by the feed's next beat.
                    with suppress(RelayUnreachable):
                        event = (await self.given.api.event(id_)).read()
                        if self._is_decided(event):
                            return event
        raise AssertionError("a feed goes on")

    def missed(self, timeout: str) -> ClientError:
        """What to say when the time is over."""
        last = next((one for one in self._seen.values() if one is not None), None)
        if last is not None and last.attempt:
            return NotDelivered(_said(last), _("relay-client events show says more."))
        hint = _("Is a client connected as {name}? relay-client status").format(
            name=harmless(self.name)
        )
        if self._seen:
            text = _("it came, and was not delivered within {timeout}").format(timeout=timeout)
        else:
            text = _("no such event came within {timeout}").format(timeout=timeout)
        return TimedOut(text, hint)

    def _concerned(self, message: Message) -> list[str]:
        """Events that a message may have decided; with a beat, all of them."""
        match message.name:
            case "event" if len(self._seen) < MAX_SEEN:
                self._seen.setdefault(str(message.data.get("id")), None)
                return [str(message.data.get("id"))]
            case "delivery" if message.data.get("event") in self._seen:
                return [message.data["event"]]
            case "beat":
                return [*self._seen]
            case _:
                return []

    def _is_decided(self, event: EventWhole) -> bool:
        delivery = self._seen[event.id] = own(event.deliveries, self.name)
        if delivery is None or delivery.state in ("pending", "under_way"):
            return False
        if _fits(delivery.status, self.status):
            return True
        waits = delivery.state == "waiting" and (delivery.due_at or 0) < self.until * 1_000
        if not waits:
            raise NotDelivered(
                f"{short_id(event.id)}: {_said(delivery)}", _("relay-client events show says more.")
            )
        return False


def _said(delivery: Delivery) -> str:
    reason = f": {harmless(retold(delivery.reason))}" if delivery.reason else ""
    return f"{state_of(delivery)}{reason}"


def _fits(status: int | None, wanted: str) -> bool:
    text = str(status)
    return text[:1] + "xx" == wanted if wanted.endswith("xx") else text == wanted
