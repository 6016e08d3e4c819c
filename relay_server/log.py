"""How the server logs: a fixed phrase and fields, never a body, a token or a header's value."""

from __future__ import annotations

import logging
import sys

if "structlog" not in sys.modules:
    # It would load rich, 3 MiB of it, for tracebacks that nobody prints here.
    _rich = sys.modules.get("rich")
    sys.modules["rich"] = None  # type: ignore[assignment]
    import structlog

    del sys.modules["rich"]
    if _rich is not None:
        sys.modules["rich"] = _rich
else:
    import structlog

from relay_protocol.text import harmless
from relay_terminal.streams import Lines

log = structlog.get_logger()

PLAIN = structlog.dev.plain_traceback  # the usual one shows variables, and with them tokens
MAX_FIELD_CHARS = 2_000  # of a field in a log line for people; a longer one is cut
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def harmless_fields(
    _logger: object, _method: str, fields: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Fields as people read them: what others name themselves must not steer the terminal.

    An empty one says nothing to them.
    """
    return {
        name: harmless(value, MAX_FIELD_CHARS) if isinstance(value, str) else value
        for name, value in fields.items()
        if value != ""
    }


class Logger:
    """Writes log lines; one that cannot be written is lost, and costs nothing else.

    The log's reader may be gone and its disk full while webhooks are taken as ever.
    """

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def msg(self, message: str) -> None:
        """Write a line."""
        self._lines.write(f"{message}\n")

    debug = info = warning = error = critical = msg


def lost_lines() -> int:
    """How many lines could not be written, since the log was set up."""
    return _lines.lost_ever


def set_up(log_format: str, level: str, *, keep: bool = True) -> None:
    """Send log lines to stderr, for people or for machines.

    With `keep`, loggers look at this once and no more: a server makes many lines.
    """
    global _lines  # noqa: PLW0603  (structlog's set-up is the process', too)
    _lines = Lines(sys.stderr, _tell_lost)
    if log_format == "auto":
        log_format = "console" if sys.stderr.isatty() else "json"
    for_people = log_format == "console"
    fmt = "%Y-%m-%d %H:%M:%S" if for_people else "iso"
    timestamp = structlog.processors.TimeStamper(fmt=fmt, utc=not for_people)
    processors: list[structlog.typing.Processor] = [structlog.processors.add_log_level, timestamp]
    if for_people:
        colors = sys.stderr.isatty()
        console = structlog.dev.ConsoleRenderer(
            pad_event_to=0,  # most lines fit 80 columns so
            colors=colors,
            exception_formatter=PLAIN,
        )
        processors += [harmless_fields, console]
    else:
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=lambda *_: Logger(_lines),
        cache_logger_on_first_use=keep,
    )
    # Libraries log rarely here, and some of them with URLs: only their errors matter.
    logging.basicConfig(level=logging.ERROR, stream=_lines, format="%(name)s: %(message)s")
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL)


def _tell_lost(lines: int) -> None:
    log.warning("log lines could not be written", lines=lines)


_lines = Lines(sys.stderr)
