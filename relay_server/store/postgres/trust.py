"""Whether a database may be trusted with webhooks: looked at before the first one is taken."""

from __future__ import annotations

from relay_server.errors import InvalidValue
from relay_server.store.postgres.link import SETTINGS, Link

OLDEST = 140_000  # PostgreSQL 14, as `server_version_num` says it
ALLOW_ASYNC = "RELAY_SERVER_STORE_ALLOW_ASYNC"


class Untrusted(InvalidValue, code="store_untrusted"):
    """The database would lose webhooks that were answered 2xx, or is no database for us."""


def check(link: Link, *, allow_async: bool = False) -> None:
    """Look at how a database is set.

    Args:
        link: To its primary.
        allow_async: A standby need not have what is answered 2xx.

    Raises:
        Untrusted: It is not to be used as it is.
    """
    place = link.place.name
    _check_session(link, place)
    shown = {
        name: link.rows(f"SHOW {name}")[0][0]
        for name in ("server_version_num", "server_encoding", "fsync", "full_page_writes")
    }
    if int(shown["server_version_num"]) < OLDEST:
        raise Untrusted(f"{place} is older than PostgreSQL {OLDEST // 10_000}: upgrade it")
    if shown["server_encoding"] != "UTF8":
        raise Untrusted(
            f"{place} keeps text as {shown['server_encoding']}: make a database with"
            " CREATE DATABASE relay ENCODING 'UTF8' TEMPLATE template0"
        )
    for name in ("fsync", "full_page_writes"):
        if shown[name] != "on":
            raise Untrusted(
                f"{place} runs with {name} = off, so that a power cut loses what was answered 2xx:"
                f" set {name} = on in postgresql.conf, and reload it"
            )
    standbys = link.rows("SHOW synchronous_standby_names")[0][0]
    if len(link.place.hosts) > 1 and not standbys and not allow_async:
        raise Untrusted(
            f"{place} has several hosts, and no standby that commits wait for: when one takes over,"
            " what was answered 2xx may be gone. Set synchronous_standby_names on the primary, or"
            f" {ALLOW_ASYNC}=on where that may be"
        )


def _check_session(link: Link, place: str) -> None:
    """See that statements of one link reach one session: locks and LISTEN belong to it.

    And that it is set as the link set it: poolers can be told to leave that away, and one that does
    may give a single link the same session each time.
    """
    link.listen("relay_probe")
    first = link.rows("SELECT pg_backend_pid(), array(SELECT pg_listening_channels())")
    second = link.rows("SELECT pg_backend_pid(), array(SELECT pg_listening_channels())")
    if first != second or "relay_probe" not in first[0][1]:
        raise Untrusted(
            f"{place} is behind a pooler that shares sessions between transactions: name the"
            " database's own host and port"
        )
    if any(link.rows(f"SHOW {name}") != [(value,)] for name, value in SETTINGS.items()):
        raise Untrusted(
            f"{place} is behind a pooler that keeps back what a session is set to: name the"
            " database's own host and port"
        )
