"""Who makes links, and at which pace while no primary can be reached.

One that wants a link looks for the primary itself, as long as there is one. Once it is not found,
all are refused at once, but for one at a time, each `SHORTEST_S` to `LONGEST_S`, who looks again:
a database that comes back is not met by everybody at once, and nobody waits for one that is away.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from relay_server.store.postgres.link import Link, LinkLost

SHORTEST_S = 0.1  # between two looks for a primary that is away
LONGEST_S = 0.8  # the same, at the most


class Primary:
    """Makes links.

    Args:
        link: Makes one by its name, which looks for the primary.
    """

    def __init__(self, link: Callable[[str], Link]) -> None:
        self._link = link
        self._lock = threading.Lock()
        self._why = ""  # it is away
        self._looking = False
        self._look_at = 0.0  # again; monotonic seconds

    def connect(self, name: str) -> Link:
        """A link.

        Raises:
            LinkLost: No primary can be reached, or could a moment ago.
            StoreUnavailable, StoreBroken: As a `Link`.
        """
        with self._lock:
            if self._why and (self._looking or time.monotonic() < self._look_at):
                raise LinkLost(self._why)
            self._looking = True
        why = ""
        try:
            return self._link(name)
        except LinkLost as exc:
            why = str(exc)
            raise
        finally:
            with self._lock:
                self._why, self._looking = why, False
                pause_s = random.uniform(SHORTEST_S, LONGEST_S)  # noqa: S311  (no secret)
                self._look_at = time.monotonic() + pause_s
