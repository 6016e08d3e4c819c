"""A copy of the project in which one mutant at a time is tried, each in a process of its own.

The process is forked from one that has every library in memory already, but nothing of Relay:
that saves most of what a test run of a module costs.
"""

from __future__ import annotations

import compileall
import importlib
import multiprocessing
import os
import py_compile
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import Phase, settings

from mutation.copies import empty

MEMORY_BYTES = 4_294_967_296  # a mutant that never ends must not take the machine with it
FILE_BYTES = 1_073_741_824  # nor its disk
LIBRARIES = (
    "aiohttp.web",
    "apsw",
    "hypothesis.stateful",
    "msgspec",
    "prometheus_client",
    "pydantic_settings",
    "pytest_asyncio.plugin",
    "pytest_timeout",
    "rich.console",
    "structlog.testing",
    "trustme",
    "typer",
    "uuid_utils",
    "uvloop",
    "websockets.asyncio.client",
)
_PYTEST = ("-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--tb=no")
_UNCHECKED = py_compile.PycInvalidationMode.UNCHECKED_HASH

_forked = multiprocessing.get_context("fork")


class Copy:
    """The project's files as they are now, in a folder of their own."""

    def __init__(self, root: Path, folder: Path) -> None:
        self._folder, self._scratch = folder / "project", folder / "scratch"
        self._scratch.mkdir(parents=True)
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=root,
            stdout=subprocess.PIPE,
            check=True,
        )
        for name in filter(None, listed.stdout.decode().split("\0")):
            with suppress(FileNotFoundError):  # deleted, and not yet in the index
                (self._folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(root / name, self._folder / name)
        compileall.compile_dir(self._folder, quiet=2, invalidation_mode=_UNCHECKED)

    def time_s(self, tests: Sequence[str]) -> float:
        """Run tests of the unchanged code, twice, and say how many seconds the second run took.

        Raises:
            RuntimeError: They fail.
        """
        self._check(tests)
        began = time.monotonic()
        self._check(tests)
        return time.monotonic() - began

    def _check(self, tests: Sequence[str]) -> None:
        if self._run(tests, 600.0) != 0:
            raise RuntimeError(f"the tests fail without any change: {self._log.read_text()}")

    def survives(self, module: str, code: str, tests: Sequence[str], timeout_s: float) -> bool:
        """Whether no test notices that a module has this code; to take too long is noticed."""
        file = self._folder / module
        compiled = Path(importlib.util.cache_from_source(str(file)))
        source = file.read_bytes()
        compiled.unlink(missing_ok=True)
        file.write_text(code)
        try:
            return all(self._run([test], timeout_s) == 0 for test in tests)
        finally:
            file.write_bytes(source)
            py_compile.compile(str(file), invalidation_mode=_UNCHECKED)

    @property
    def _log(self) -> Path:
        return self._folder.with_name("log")

    def _run(self, tests: Sequence[str], timeout_s: float) -> int | None:
        """Exit status of pytest, or None when it was stopped."""
        process = _forked.Process(
            target=_test, args=(self._folder, self._scratch, self._log, tests)
        )
        process.start()
        process.join(timeout_s)
        status = process.exitcode
        with suppress(ProcessLookupError):
            os.killpg(process.pid or 0, signal.SIGKILL)  # what tests started, too
        process.join()
        empty(self._scratch)
        return status


def load_libraries() -> None:
    """Have in memory what every test run needs."""
    os.environ["CI"] = "true"  # no chance in what hypothesis tries, see tests/conftest.py
    for library in LIBRARIES:
        importlib.import_module(library)


class _QuickToFail:
    """Hypothesis need not look for the smallest example: any will do."""

    @pytest.hookimpl
    def pytest_sessionstart(self) -> None:
        settings.register_profile(
            "mutants", settings.default, phases=[Phase.explicit, Phase.generate], database=None
        )
        settings.load_profile("mutants")


def _test(folder: Path, scratch: Path, log: Path, tests: Sequence[str]) -> NoReturn:
    os.setsid()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.path[:] = [str(folder), *(path for path in sys.path if path not in {"", str(Path.cwd())})]
    os.chdir(folder)
    os.environ["PYTHONPATH"] = str(folder)
    os.environ["TMPDIR"] = tempfile.tempdir = str(scratch)
    places = (f"--rootdir={folder}", f"--basetemp={scratch / 'tests'}")
    status = pytest.main([*_PYTEST, *places, *tests], plugins=[_QuickToFail()])
    os._exit(int(status))
