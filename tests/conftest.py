"""For every test: how hard hypothesis tries, and where chance comes from; a relay and a target."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from relay_server import log
from tests.support.relay import Relay, open_relay
from tests.support.seeds import choose_seed, header, table
from tests.support.target import Target, open_target

settings.register_profile("local", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("local"), derandomize=True, print_blob=True)
USUAL = "ci" if os.environ.get("CI") == "true" else "local"
settings.register_profile("quick", settings.get_profile(USUAL), max_examples=10)
settings.load_profile(USUAL)


# Set on many a development machine, and hides what a user meets when a stream is gone at the end.
os.environ.pop("PYTHONUNBUFFERED", None)
# What commands say is compared with English, whatever the language of who runs the tests.
os.environ["LANGUAGE"] = "en"
# Some runners say how wide their screen is; lines that are looked for are not to be broken at it.
os.environ.pop("COLUMNS", None)

# What is logged while no test looks is seen where one fails; drawn with rich, as structlog does by
# itself, the variables of a single traceback take seconds.
PRINTED = structlog.dev.ConsoleRenderer(exception_formatter=log.PLAIN)
structlog.configure(processors=[*structlog.get_config()["processors"][:-1], PRINTED])


def pytest_configure() -> None:
    # A shell has what it starts in the background ignore Ctrl-C, and all that this starts, too.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    choose_seed()  # before there are other processes, so that they have the same


def pytest_collection_finish() -> None:
    # What was collected stays to the end: else each look for garbage goes through all of it.
    gc.collect()
    gc.freeze()


def pytest_report_header() -> str:
    return header()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [
        report
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        if report.when == "call"
    ]
    lines = list(table(reports))
    if lines:
        terminalreporter.section("faults")
        terminalreporter.write_line(header())
    for line in lines:
        terminalreporter.write_line(line)


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[Relay]:
    """A server process with the channel `chatwoot`."""
    async with open_relay(tmp_path / "relay") as relay:
        yield relay


@pytest.fixture
async def target() -> AsyncIterator[Target]:
    """An HTTP server that takes everything."""
    async with open_target() as target:
        yield target
