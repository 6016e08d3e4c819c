"""Who makes links, and at which pace while no primary can be reached.

One that wants a link looks for the primary itself, as long as there is one. Once it is not found,
all are refused at once, but for one at a time, each `SHORTEST_S` to `LONGEST_S`, who looks again:
a database that comes back is not met by everybody at once, and nobody waits for one that is away.

A primary that was promoted has a higher *timeline* than the one before. With the first link to it
all calls to the old one end, and from then on that is left alone, also where it alone can be
reached: what it would take, the new one never gets.

Whoever makes the first link after it could not be reached knows that it answers again, and ends
what others asked `STALE_S` ago: a network that was silent for a while may never bring their
answers. Where it was there all the time, a call that takes long is left alone.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import structlog

from relay_protocol.errors import RelayError
from relay_server.errors import StoreUnavailable
from relay_server.store.postgres.finding import LinkLost
from relay_server.store.postgres.link import Link, Watch

log = structlog.get_logger()

SHORTEST_S = 0.1  # between two looks for a primary that is away
LONGEST_S = 0.8  # the same, at the most
STALE_S = 2.0  # for which a call may have waited when the database answers again


class Primary:
    """Makes links.

    Args:
        link: Makes one by its name, which looks for the primary.
        watch: Of all of them.
        recognize: Looks at the first one, where none was made before: the database was away.

    Attributes:
        on_promoted: Called when another one took over, from any thread, before anybody has a link
            to it.
    """

    def __init__(
        self,
        link: Callable[[str], Link],
        watch: Watch,
        recognize: Callable[[Link], None] | None = None,
    ) -> None:
        self.on_promoted: Callable[[], None] = lambda: None
        self._link = link
        self._watch = watch
        self._timeline = 0  # the highest that was seen
        self._lock = threading.Lock()
        self._recognize = recognize
        self._unusable = ""  # why, as it was said last
        self._why = "it was away" if recognize else ""  # and so one at a time looks for it
        self._looking = False
        self._look_at = 0.0  # again; monotonic seconds

    def connect(self, name: str) -> Link:
        """A link.

        Raises:
            LinkLost: No primary can be reached, or could a moment ago; or one that is no more.
            StoreUnavailable, StoreBroken: As a `Link`.
        """
        with self._lock:
            if self._why and (self._looking or time.monotonic() < self._look_at):
                raise LinkLost(self._why)
            self._looking, was_away = True, bool(self._why)
        why = ""
        try:
            link = self._recognized(self._newest(self._link(name)))
            if was_away:
                self._watch.abandon_waiting(STALE_S)
            return link
        except LinkLost as exc:
            why = str(exc)
            raise
        finally:
            with self._lock:
                self._why, self._looking = why, False
                pause_s = random.uniform(SHORTEST_S, LONGEST_S)  # noqa: S311  (no secret)
                self._look_at = time.monotonic() + pause_s

    def _newest(self, link: Link) -> Link:
        """See that a link leads to the primary that was promoted last."""
        with self._lock:
            before, self._timeline = self._timeline, max(self._timeline, link.timeline)
            if 0 < before < link.timeline:
                self._watch.abandon_before(link.timeline)
                self.on_promoted()
        if link.timeline < before:
            link.close()
            raise LinkLost(
                f"only an old primary answers, of timeline {link.timeline} and not {before}"
            )
        return link

    def _recognized(self, link: Link) -> Link:
        """See that a database that was away at the start is one to be used."""
        if self._recognize is None:
            return link
        try:
            self._recognize(link)
        except RelayError as exc:
            link.close()
            if str(exc) != self._unusable and not isinstance(exc, StoreUnavailable):
                log.error("the database is back, and cannot be used", error=str(exc))
                self._unusable = str(exc)
            raise LinkLost(str(exc)) from exc
        self._recognize = None
        log.info("the database is back")
        return link
