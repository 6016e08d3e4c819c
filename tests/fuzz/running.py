"""Runs one fuzz target under atheris: `python -m tests.fuzz.fuzz_keys [libFuzzer's arguments]`."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
INSTRUMENTED = (
    *("relay_protocol", "relay_http", "relay_terminal"),
    *("relay_chatwoot", "relay_server", "relay_client"),
)
LOADED_ANEW = (*INSTRUMENTED, "tests")  # whoever holds a class of theirs

Consider = Callable[[bytes], None]


def run(consider: Consider) -> None:
    """Fuzz until something raises, or libFuzzer's limits are reached (`-max_total_time=60`).

    Args:
        consider: Of the module that was started. The one that is fuzzed is loaded anew: atheris
            sees only the branches of what is imported under its eyes.
    """
    import atheris
    import structlog

    # Thousands of requests are refused each second.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    name = Path(consider.__code__.co_filename).stem
    for loaded in [m for m in sys.modules if m.partition(".")[0] in LOADED_ANEW]:
        del sys.modules[loaded]
    with atheris.instrument_imports(include=list(INSTRUMENTED)):
        module = importlib.import_module(f"tests.fuzz.{name}")
    atheris.Setup(sys.argv, module.consider)
    atheris.Fuzz()


def seeds(name: str) -> list[Path]:
    """The files in a target's corpus; every target has some."""
    return sorted((CORPUS / name).iterdir())
