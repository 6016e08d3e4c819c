"""What the parts ask of a database: named queries, and what a transaction changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from relay_server.store.bodies import BodyKeys
from relay_server.store.feed import Change

Row = tuple[Any, ...]


class Database(Protocol):
    """One connection; it belongs to one thread at a time.

    Queries are those of `queries/`, by name; `:values` in them are given by keyword.

    Attributes:
        bodies: Seals what is stored of them, and opens it.
        changes: What the transaction changes, to be told once it is committed.
    """

    bodies: BodyKeys
    changes: list[Change]

    def wipe(self) -> None:
        """Have what is dropped from now on leave as little as can be in the database's files."""

    def run(self, query: str, /, **values: Any) -> None:
        """Execute a query for its effect."""

    def run_rows(self, query: str, rows: Sequence[Sequence[Any]]) -> None:
        """Execute an INSERT for many rows, each in the order of its columns, by few statements."""

    def all(self, query: str, /, **values: Any) -> list[Row]:
        """All rows."""

    def each(self, query: str, /, **values: Any) -> Iterator[Row]:
        """The rows, read as they are asked for."""

    def one(self, query: str, /, **values: Any) -> Row | None:
        """The first row, if there is one."""

    def value(self, query: str, /, **values: Any) -> Any:
        """The first column of the first row, or None."""
