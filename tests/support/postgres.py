"""A PostgreSQL of our own: a cluster in a folder, on a port of its own, ended with the tests."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Self
from unittest.mock import patch

import psycopg

from relay_server.store.postgres import appending, draining, store
from tests.support.needs import lacks
from tests.support.processes import free_port, stat_of
from tests.support.waiting import LONG_S

FAST = ("fsync=off", "full_page_writes=off", "synchronous_commit=off")  # nothing here survives
USER = "postgres"
DEADLINES = (
    (appending, "APPEND_S"),
    (draining, "DRAIN_S"),
    *((store, name) for name in ("TELL_S", "OPERATE_S", "LISTEN_S", "READ_S")),
)


def programs() -> Path | None:
    """Where PostgreSQL's programs are, the newest version's; None where there are none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    return found[-1].parent if found else None


def need_postgres() -> None:
    """Skip the test where there is no PostgreSQL; in CI, fail it."""
    if programs() is None:
        lacks("PostgreSQL (on Debian: apt install postgresql)")


def folder_of_its_own() -> Path:
    """Not among the tests' own, where nobody else may look: a server runs as another user."""
    return Path(tempfile.mkdtemp(prefix="relay-postgres-"))


class Cluster:
    """A PostgreSQL server.

    Args:
        settings: Lines of its configuration.
        folder: Where its files are to be, such as a disk of its own.
    """

    def __init__(self, settings: Sequence[str] = (), folder: Path | None = None) -> None:
        self.folder, self.port = folder or folder_of_its_own(), free_port()
        self.lent: Path | None = None  # whose database its own is now
        self._settings = (
            "listen_addresses='127.0.0.1'",
            f"port={self.port}",
            f"unix_socket_directories='{self.folder}'",
            "shared_buffers=32MB",
            *settings,
        )

    def __enter__(self) -> Self:
        self.make()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def make(self) -> None:
        """Make its files."""
        self._own()
        self.run("initdb", "--no-sync", "-A", "trust", "-U", USER, "-E", "UTF8", "--locale=C.UTF-8")
        self._configure()

    def _own(self) -> None:
        self.folder.chmod(0o755)
        if os.geteuid() == 0:
            shutil.chown(self.folder, USER, USER)

    def _configure(self) -> None:
        with (self.data / "postgresql.conf").open("a") as file:
            file.write("\n".join([*self._settings, ""]))

    @property
    def data(self) -> Path:
        """Where its files are."""
        return self.folder / "data"

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        self.run("pg_ctl", "-w", "-s", "-l", str(self.folder / "log"), "start")

    def stop(self, how: str = "immediate") -> None:
        """End it."""
        self.run("pg_ctl", "-s", "-m", how, "stop")

    def kill(self) -> None:
        """Have all of its processes end at once, as a machine that loses its power."""
        if (self.data / "postmaster.pid").exists():
            for pid in self._signal(signal.SIGKILL):
                while _runs(pid):
                    time.sleep(0.005)  # nobody tells: they are no children of ours
            (self.data / "postmaster.pid").unlink()
            # Its number may stay in use: these processes are nobody's children who looks at them.
            (self.folder / f".s.PGSQL.{self.port}.lock").unlink()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It takes connections meanwhile, and answers nothing."""
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)

    def follow(self, primary: Cluster) -> None:
        """Be a standby of another one, which waits for it with each commit from now on."""
        self._own()
        where = ("-h", "127.0.0.1", "-p", str(primary.port), "-U", USER)
        self.run("pg_basebackup", *where, "-R", "-c", "fast", "--no-sync")
        self._configure()
        self.start()
        with psycopg.connect(primary.url(), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            connection.execute("SELECT pg_reload_conf()")

    def promote(self) -> None:
        """Be a primary."""
        self.run("pg_ctl", "-s", "-w", "promote")

    def _signal(self, number: signal.Signals) -> list[int]:
        """Tell all of its processes, the one first that would make new ones; which these are."""
        first = int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
        os.kill(first, number)
        told = [first]
        for pid in [int(path.name) for path in Path("/proc").glob("[0-9]*")]:
            if stat_of(pid)[1:2] == [str(first)]:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
                told.append(pid)
        return told

    def run(self, program: str, *args: str) -> None:
        """Run one of PostgreSQL's programs on its files, never as root."""
        folder = programs()
        assert folder is not None
        command = [str(folder / program), "-D", str(self.data), *args]
        subprocess.run(
            command,
            user=USER if os.geteuid() == 0 else None,
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self.folder,
        )

    def url(self, database: str = USER) -> str:
        """Where a database of it is."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def create(self, database: str) -> str:
        """Make a database; gives its URL."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{database}"'.encode())
        return self.url(database)


@contextmanager
def patient() -> Iterator[None]:
    """Let a database that a busy machine has no time for be none that is away."""
    with ExitStack() as stack:
        for module, name in DEADLINES:
            stack.enter_context(patch.object(module, name, LONG_S))
        yield


def _runs(pid: int) -> bool:
    return stat_of(pid)[:1] not in ([], ["Z"])


@functools.cache
def shared_cluster() -> Cluster:
    """The one that tests of a process share; what is in it may be lost at any time."""
    cluster = Cluster(FAST).__enter__()
    atexit.register(cluster.__exit__)
    return cluster


_TABLES = """
DROP TABLE IF EXISTS relay.copying;
DO $$ DECLARE every text; BEGIN
    SELECT string_agg(format('relay.%I', tablename), ', ') INTO every FROM pg_tables
    WHERE schemaname = 'relay' AND tablename NOT IN ('migrated', 'catalogue');
    IF every IS NOT NULL THEN EXECUTE 'TRUNCATE ' || every || ' RESTART IDENTITY CASCADE'; END IF;
END $$
"""


def database_of(folder: Path) -> str:
    """The URL of a folder's database: empty at first, and lost once another folder's is asked for.

    It is one for all of them, since to make one takes longer than most tests.
    """
    cluster = shared_cluster()
    if folder != cluster.lent:
        with psycopg.connect(cluster.url(), autocommit=True) as connection:
            connection.execute(_TABLES)
        cluster.lent = folder
    return cluster.url()
