"""A date of their own for processes: libfaketime, which leaves the monotonic clock alone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests.support.needs import lacks
from tests.support.processes import Running

PLACES = (
    "usr/lib/*/faketime/libfaketimeMT.so.1",
    "usr/local/lib/faketime/libfaketimeMT.so.1",
)


class FakeDate:
    """How far the date of some processes is from the true one.

    Args:
        file: Where that is written for them.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._library = _library()
        self.offset_s = 0
        self.set(0)

    @property
    def prefix(self) -> list[str | Path]:
        """The command before a program that is to have this date."""
        values = {
            "LD_PRELOAD": self._library,
            "FAKETIME_TIMESTAMP_FILE": self._file,
            "FAKETIME_CACHE_DURATION": 1,  # seconds until a change is seen
            "FAKETIME_DONT_FAKE_MONOTONIC": 1,
        }
        return ["env", *(f"{name}={value}" for name, value in values.items())]

    def set(self, offset_s: int) -> None:
        """Let the date jump to so many seconds from the true one; seen within a second or two."""
        self.offset_s = offset_s
        new = self._file.with_suffix(".new")
        new.write_text(f"{offset_s:+d}\n")
        new.replace(self._file)


def leave_no_traces(processes: Iterable[Running]) -> None:
    """Remove what the library leaves of processes that were killed."""
    for process in processes:
        for name in ("sem.faketime_sem_{}", "faketime_shm_{}"):
            (Path("/dev/shm") / name.format(process.process.pid)).unlink(missing_ok=True)


def _library() -> Path:
    found = [path for place in PLACES for path in Path("/").glob(place)]
    if not found:
        lacks("libfaketime (on Debian: apt install libfaketime)")
    return found[0]
