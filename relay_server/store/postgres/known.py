"""What a server remembers on its own disk of its store: which one it is, its channels and tokens.

By its identity another store behind the same URL is found out, before a webhook goes there whose
channel it numbers otherwise. With channels and tokens a server can start while the database is
away: it takes webhooks into its spool. They are as old as its last look at the store; what was
revoked since is found out with the next one.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec
import structlog

from relay_server.files import write_whole
from relay_server.store.postgres.trust import Untrusted
from relay_server.values import Channel, Token

log = structlog.get_logger()

FILE_NAME = "postgres.known"


class Known(msgspec.Struct, array_like=True):
    """What is remembered.

    Attributes:
        store: Which it is.
        channels: Each with its last sequence and the bytes that its events take.
    """

    store: str
    channels: Sequence[tuple[Channel, int, int]]
    tokens: Sequence[Token]


class Memory:
    """The file; for any thread.

    Attributes:
        known: What is in it; None where nothing is, or nothing that can be read.
    """

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / FILE_NAME
        self._keeping = threading.Lock()
        self.known = self._read()

    @property
    def store(self) -> str:
        """Which store it is; empty before one was recognized."""
        return self.known.store if self.known else ""

    def recognize(self, store: str, place: str) -> None:
        """See that a store is the one that is remembered, and remember the first one.

        Raises:
            Untrusted: It is another one.
        """
        if self.known is None:
            self.known = Known(store, [], [])
            self.keep()
        elif self.known.store != store:
            raise Untrusted(
                f"{place} holds another store than the one that {self._path.parent} was used with:"
                " correct RELAY_SERVER_STORE_URL; or, where this one is meant, set"
                f" RELAY_SERVER_DATA_DIR to another folder, or remove {self._path.name} and"
                " whatever is in spool/, which is the other store's"
            )

    def note(self, channels: Sequence[tuple[Channel, int, int]], tokens: Sequence[Token]) -> None:
        """Note what there is of the store that was recognized, to be kept; of none, nothing."""
        if self.known is not None:
            self.known = Known(self.known.store, channels, tokens)

    def keep(self) -> None:
        """Write what was noted last: of two threads the second one waits, and has that, too."""
        with self._keeping:
            try:
                if self.known is not None:
                    write_whole(self._path, msgspec.msgpack.encode(self.known))
            except OSError as exc:  # webhooks are taken all the same
                log.warning(
                    "channels and tokens are not remembered: a start takes the database",
                    path=str(self._path),
                    error=exc.strerror,
                )

    def _read(self) -> Known | None:
        try:
            return msgspec.msgpack.decode(self._path.read_bytes(), type=Known)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as exc:
            log.error("what is remembered cannot be read", path=str(self._path), error=str(exc))
            return None
