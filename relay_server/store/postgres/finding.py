"""How a database is found: a URL is read, its hosts are asked, and the primary among them taken.

All are asked at once; of those that are not in recovery the one with the highest timeline is taken,
so that an old primary that is back is left alone.
"""

from __future__ import annotations

import functools
import queue
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import psycopg
from psycopg.adapt import Dumper, Loader
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Format
from psycopg.types.string import StrDumper, TextLoader

from relay_server.errors import InvalidValue, StoreUnavailable
from relay_server.store.postgres.arrays import Array, escaped, unescaped
from relay_server.store.sql.database import Row

USUAL_PORT = 5432  # of a PostgreSQL
CONNECT_S = 2  # for a host to take a connection: libpq knows nothing shorter
GRACE_S = 0.5  # for the other hosts to answer, once one has
# Of an idle connection, for networks that forget one in silence: Swarm's IPVS after 15 minutes.
KEEPALIVES = {"keepalives_idle": 60, "keepalives_interval": 10, "keepalives_count": 3}
# What a pooler says to what a link sets as it connects, in each of its modes.
OF_POOLER = "unsupported startup parameter"


class LinkLost(StoreUnavailable, code="store_unreachable"):
    """The database did not answer in time, or the connection ended: what was asked may be done."""


class Place(NamedTuple):
    """A database, and where it may be found.

    Attributes:
        hosts: Names or addresses, each with its port.
        options: All else that libpq is to know.
    """

    hosts: Sequence[tuple[str, int]]
    options: Mapping[str, Any]

    @property
    def name(self) -> str:
        """For people, without a secret."""
        hosts = ",".join(f"{host}:{port}" for host, port in self.hosts)
        return f"postgresql://{hosts}/{self.options.get('dbname', '')}"


def read_place(url: str, password: str | None = None) -> Place:
    """Read a URL, `postgresql://user@host1:5432,host2/db?sslmode=verify-full`.

    Raises:
        InvalidValue: It is none, or has a password in it.
    """
    try:
        options = conninfo_to_dict(url)
        ports = [int(port or USUAL_PORT) for port in str(options.pop("port", "")).split(",")]
    except (psycopg.Error, ValueError) as exc:
        raise InvalidValue(f"the store's URL cannot be read: {exc}".replace(url, "…")) from None
    if "password" in options:
        raise InvalidValue(
            "the store's URL holds a password, which logs and process lists would show:"
            " put it into a file, and name that in RELAY_SERVER_STORE_PASSWORD_FILE"
        )
    if not options.get("host") or not options.get("dbname"):
        raise InvalidValue("the store's URL names no host, or no database")
    hosts = str(options.pop("host")).split(",")
    if len(ports) == 1:
        ports *= len(hosts)
    if len(ports) != len(hosts):
        raise InvalidValue("the store's URL has more hosts than ports")
    if password is not None:
        options["password"] = password
    return Place(list(zip(hosts, ports, strict=True)), options)


def in_one_line(error: Exception) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split())


Connected: TypeAlias = tuple[int, psycopg.Connection[Row]]


def find_primary(place: Place, name: str, settings: Mapping[str, str]) -> Connected:
    """Connect to the host that takes what is written; with its timeline.

    All are asked at once. Once one has answered, the others get `GRACE_S`: one that is frozen takes
    connections, and says nothing.

    Raises:
        StoreUnavailable: None does.
    """
    asking = _Asking()
    for host in place.hosts:
        asking.ask(functools.partial(_connect, place, host, name, settings))
    found, failures = asking.answers(len(place.hosts))
    primaries = sorted((one for one in found if one[0]), key=lambda one: one[0])
    for _, connection in found:
        if not primaries or connection is not primaries[-1][1]:
            connection.close()
    if not primaries:
        why = "; ".join(failures) or ("every host is a standby" if found else "nothing answers")
        if OF_POOLER in why:
            why = f"{why}: this is a pooler, so name the database's own host and port"
        raise LinkLost(f"{place.name} cannot be reached: {why}")
    return primaries[-1]


class _Asking:
    """Hosts that are asked at once, each by a thread; who answers too late is let go."""

    def __init__(self) -> None:
        self._answers: queue.SimpleQueue[Connected | Exception] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._over = False

    def ask(self, connect: Callable[[], Connected]) -> None:
        threading.Thread(target=self._ask, args=(connect,), daemon=True).start()

    def answers(self, count: int) -> tuple[list[Connected], list[str]]:
        """What those answered that did so in time, and why others could not."""
        found, failures = list[Connected](), list[str]()
        until = time.monotonic() + CONNECT_S + GRACE_S
        for _ in range(count):
            try:
                answer = self._answers.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            until = min(until, time.monotonic() + GRACE_S)
            if isinstance(answer, Exception):
                failures.append(in_one_line(answer))
            else:
                found.append(answer)
        with self._lock:
            self._over = True
        while not self._answers.empty():
            self._let_go(self._answers.get())
        return found, failures

    def _ask(self, connect: Callable[[], Connected]) -> None:
        try:
            answer: Connected | Exception = connect()
        except Exception as exc:  # noqa: BLE001  (who waits for it is to know)
            answer = exc
        with self._lock:
            if not self._over:
                self._answers.put(answer)
                return
        self._let_go(answer)

    def _let_go(self, answer: Connected | Exception) -> None:
        if not isinstance(answer, Exception):
            answer[1].close()


def _connect(
    place: Place, host: tuple[str, int], name: str, settings: Mapping[str, str]
) -> Connected:
    """A connection, with the timeline that its host writes; 0 for a standby."""
    set_first = str(place.options.get("options", ""))  # what is set twice is as it is set last
    own = {
        "host": host[0],
        "port": host[1],
        "connect_timeout": CONNECT_S,
        "application_name": name,
        "options": " ".join([set_first, *(f"-c {key}={value}" for key, value in settings.items())]),
    }
    # A statement is prepared where `prepare=True` says so, and never for being frequent: with None
    # psycopg would not even prepare where it is told to.
    connection = psycopg.connect(
        autocommit=True, prepare_threshold=sys.maxsize, **{**KEEPALIVES, **place.options, **own}
    )
    _adapt(connection)
    row = connection.execute(
        "SELECT CASE WHEN pg_is_in_recovery() THEN '0'"
        " ELSE substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END"
    ).fetchone()
    assert row is not None
    return int(row[0], 16), connection


class _Text(StrDumper):
    """Text without its NULs."""

    def dump(self, obj: str) -> Any:
        return super().dump(escaped(obj))


class _TextAgain(TextLoader):
    """Text with them."""

    def load(self, data: Any) -> Any:
        text = super().load(data)
        return unescaped(text) if isinstance(text, str) else text


class _Array(Dumper):
    """An array that is packed already."""

    format = Format.BINARY

    def dump(self, obj: Array) -> Any:
        return obj


class _Whole(Loader):
    """A sum of whole numbers, which PostgreSQL makes a `numeric` of."""

    def load(self, data: Any) -> int:
        return int(bytes(data))


def _adapt(connection: psycopg.Connection[Row]) -> None:
    adapters = connection.adapters
    adapters.register_dumper(str, _Text)
    adapters.register_dumper(Array, _Array)
    adapters.register_loader("text", _TextAgain)
    adapters.register_loader("numeric", _Whole)
