"""Whether this server reaches the others of its store, at the addresses that they announced.

All that servers tell each other goes by their database, but for clients that share (`bridge`). So a
wrong address shows itself only when two of these come to two servers. That is known here before:
each other server is asked every `LOOK_S`, the way that a bridge takes. What is missed for
`LASTING_S`, longer than one takes to begin, is noted in the store, for whoever asks any of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from relay_protocol.errors import RelayError
from relay_server.clock import Clock
from relay_server.reported import Missed, Neighbour
from relay_server.sealing import OpenSealed
from relay_server.store.interface import Store
from relay_server.web.bridge import NoBridge, ask, found

log = structlog.get_logger()

LOOK_S = 10.0  # between two looks
LASTING_S = 8.0  # for which one is to be missed: at two looks in a row


class Reach:
    """Looks whether other servers are reached."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        open_sealed: OpenSealed,
        on_missed: Callable[[int], None],
    ) -> None:
        self._store, self._clock = store, clock
        self._open_sealed = open_sealed
        self._on_missed = on_missed
        self._since = dict[str, float]()  # each is missed; monotonic seconds
        self._noted = dict[str, str]()  # why, of those that the store knows of

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            try:
                await self._look()
            except RelayError as exc:  # the database is away, and that is told elsewhere
                log.debug("whether other servers are reached is not known", error=str(exc))
            except Exception as exc:  # no reason to end the server
                log.error("whether other servers are reached is not known", exc_info=exc)
            await asyncio.sleep(LOOK_S)

    async def _look(self) -> None:
        others = await self._store.neighbours()
        tries = await asyncio.gather(*(self._try(one) for one in others))
        failures = {
            one.name: failure for one, failure in zip(others, tries, strict=True) if failure
        }
        now = self._clock.monotonic()
        self._since = {name: self._since.get(name, now) for name in failures}
        lasting = {
            name: Missed(now - since, str(failures[name]), failures[name].fix)
            for name, since in self._since.items()
            if now - since >= LASTING_S
        }
        self._on_missed(len(lasting))
        why = {name: missed.why for name, missed in lasting.items()}
        if why != self._noted:
            await self._store.note_unreached(lasting)
            self._say(lasting)
            self._noted = why

    async def _try(self, other: Neighbour) -> NoBridge | None:
        try:
            await ask(found(other, self._open_sealed))
        except NoBridge as exc:
            return exc
        return None

    def _say(self, lasting: dict[str, Missed]) -> None:
        for name, missed in lasting.items():
            if self._noted.get(name) != missed.why:
                log.warning("another server is not reached", other=name, error=missed.why)
        for name in self._noted.keys() - lasting.keys():
            log.info("another server is missed no more", other=name)
