"""Log lines: where they go, in which form, and what is never in them."""

from __future__ import annotations

import errno
import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog

from relay_server import log

SECRET = "rly_FIXTUREsecret"


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Other tests have the logger as it is without a set-up."""
    root, aiohttp = logging.getLogger(), logging.getLogger("aiohttp")
    handlers, level, aiohttp_level = root.handlers[:], root.level, aiohttp.level
    configured = structlog.get_config()
    yield
    structlog.configure(**configured)
    root.handlers[:], root.level, aiohttp.level = handlers, level, aiohttp_level


def fail() -> None:
    """Fail with a secret in a variable, as a bug in a handler would."""
    authorization = SECRET
    try:
        raise KeyError(len(authorization))
    except KeyError as exc:
        structlog.get_logger().error("request failed", exc_info=exc)


@pytest.mark.parametrize("form", ["console", "json", "auto"])
def test_a_traceback_shows_no_variables(form: str, capfd: pytest.CaptureFixture[str]) -> None:
    log.set_up(form, "info")
    fail()
    out, err = capfd.readouterr()
    assert out == ""
    assert "request failed" in err
    assert "KeyError" in err
    assert "in fail" in err
    assert SECRET not in err


def test_json_is_an_object_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    log.set_up("json", "info")
    structlog.get_logger().info("webhook stored", channel="chatwoot\nx", emoji="👋")
    [line] = capfd.readouterr().err.splitlines()
    entry = json.loads(line)
    assert entry.pop("timestamp").endswith("Z")
    assert entry == {
        "event": "webhook stored",
        "level": "info",
        "channel": "chatwoot\nx",
        "emoji": "👋",
    }


def test_without_a_terminal_machines_read_it(capfd: pytest.CaptureFixture[str]) -> None:
    log.set_up("auto", "info")
    structlog.get_logger().info("ready")
    assert json.loads(capfd.readouterr().err)["event"] == "ready"


@pytest.mark.parametrize(
    ("level", "seen"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_levels(level: str, seen: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    log.set_up("json", level)
    logger = structlog.get_logger()
    for name in log.LEVELS:
        getattr(logger, name)("said")
    lines = capfd.readouterr().err.splitlines()
    assert [json.loads(line)["level"] for line in lines] == seen


def test_a_line_that_cannot_be_written_costs_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the request that it tells of, nor the next line."""
    err, written = io.StringIO(), iter([OSError(errno.ENOSPC, "full"), None, None])

    def write(text: str) -> int:
        if (failure := next(written)) is not None:
            raise failure
        return io.StringIO.write(err, text)

    monkeypatch.setattr(err, "write", write)
    monkeypatch.setattr(sys, "stderr", err)
    log.set_up("json", "info")
    structlog.get_logger().info("webhook stored")
    structlog.get_logger().info("ready")
    ready, lost = map(json.loads, err.getvalue().splitlines())
    assert ready["event"] == "ready"
    assert (lost["event"], lost["lines"]) == ("log lines could not be written", 1)
    assert log.lost_lines() == 1


def test_libraries_say_nothing_with_urls(capfd: pytest.CaptureFixture[str]) -> None:
    log.set_up("json", "debug")
    for name in ("aiohttp.access", "aiohttp.server", "aiohttp.web"):
        logging.getLogger(name).error("GET /webhook?token=%s", SECRET)
    logging.getLogger("asyncio").debug("%s", SECRET)
    assert SECRET not in capfd.readouterr().err


def test_names_of_others_do_not_steer_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    """A client says itself what its host is called."""
    log.set_up("console", "info")
    structlog.get_logger().info("client joined", host="\x1b]0;owned\x07\x9b31m\u202eevil", epoch=3)
    err = capfd.readouterr().err
    assert "evil" in err
    assert "epoch=3" in err.replace(" ", "")
    assert not any(char in err for char in "\x1b\x07\x9b\u202e")


def test_an_empty_field_is_not_shown_to_people(capfd: pytest.CaptureFixture[str]) -> None:
    log.set_up("console", "info")
    structlog.get_logger().info("webhook refused", channel="", times=0, fix="")
    err = capfd.readouterr().err
    assert "times=0" in err
    assert "channel" not in err
    assert "fix" not in err


def test_a_field_without_end_is_cut_for_people(capfd: pytest.CaptureFixture[str]) -> None:
    log.set_up("console", "info")
    structlog.get_logger().info("client joined", host="h" * (2 * log.MAX_FIELD_CHARS))

    assert log.MAX_FIELD_CHARS - 10 < capfd.readouterr().err.count("h") <= log.MAX_FIELD_CHARS + 10
