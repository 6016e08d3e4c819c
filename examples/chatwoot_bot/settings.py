"""What the bot is told: by the environment, and by its command line."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import cast
from urllib.parse import urlsplit

from examples.chatwoot_bot import handlers
from examples.chatwoot_bot.events import Reply

DEFAULT_PORT = 8000


class UsageError(Exception):
    """A setting that cannot be: says which, and what it takes."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All of the bot's configuration.

    Attributes:
        port: 0 for any free one.
        secrets: Of Chatwoot's webhooks; none if signatures are not checked.
        tolerance_s: Between signing and arrival; 0 if that is not checked.
        chatwoot_url: Like `"https://chat.example.com"`; None if answers are only printed.
        chatwoot_token: Goes with the URL.
        reply: Finds the answers.
    """

    port: int
    secrets: tuple[str, ...] = field(repr=False)
    tolerance_s: int
    chatwoot_url: str | None
    chatwoot_token: str | None = field(repr=False)
    reply: Reply


def read_settings(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Read flags and environment.

    Raises:
        UsageError: Something is impossible.
        SystemExit: The flags are not the program's, or only help was wanted.
    """
    flags = _parser().parse_args(arguments)
    url, token = environment.get("CHATWOOT_URL"), _secret(environment, "CHATWOOT_TOKEN")
    return Settings(
        port=_port(flags.port or environment.get("PORT") or str(DEFAULT_PORT)),
        secrets=tuple(_secret(environment, "CHATWOOT_WEBHOOK_SECRET").replace(",", " ").split()),
        tolerance_s=flags.tolerance,
        chatwoot_url=_chatwoot_url(url, token),
        chatwoot_token=token or None,
        reply=load_reply(flags.reply) if flags.reply else handlers.reply,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m examples.chatwoot_bot",
        description="Receive Chatwoot's webhooks at localhost and answer its customers.",
        epilog="Environment: CHATWOOT_WEBHOOK_SECRET checks signatures (several: with commas); "
        "CHATWOOT_URL and CHATWOOT_TOKEN let it answer; both secrets also as ..._FILE.",
    )
    parser.add_argument("--port", help=f"default: PORT of the environment, or {DEFAULT_PORT}")
    parser.add_argument(
        "--reply",
        metavar="FILE.py:NAME",
        help="the async function that finds the answers, also as MODULE:NAME",
    )
    parser.add_argument(
        "--tolerance",
        metavar="SECONDS",
        type=_seconds,
        default=300,
        help="allowed between signing and arrival (default: 300; 0 allows any time)",
    )
    return parser


def load_reply(where: str) -> Reply:
    """The function at `FILE.py:NAME` or `MODULE:NAME`.

    Raises:
        UsageError: There is none, or it is not async.
    """
    place, _, name = where.rpartition(":")
    module = _module(place, where)
    found = getattr(module, name, None)
    if found is None:
        raise UsageError(f"--reply {where}: there is no {name!r} in {place!r}")
    if not inspect.iscoroutinefunction(found):
        raise UsageError(f"--reply {where}: {name} must be `async def {name}(conversation)`")
    return cast(Reply, found)


def _module(place: str, where: str) -> ModuleType:
    try:
        return _from_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except (ImportError, OSError, ValueError) as exc:
        raise UsageError(f"--reply {where}: cannot load {place!r}: {exc}") from exc


def _from_file(path: Path) -> ModuleType:
    name = f"reply_in_{path.stem}"  # not the stem alone, which may be a module's, like crewai
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


def _secret(environment: Mapping[str, str], name: str) -> str:
    """The value of NAME, or what is in the file that NAME_FILE names; `""` if neither is set."""
    value, file = environment.get(name, "").strip(), environment.get(f"{name}_FILE")
    if not file:
        return value
    if value:
        raise UsageError(f"{name} and {name}_FILE are both set: unset one")
    try:
        content = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as exc:
        raise UsageError(f"{name}_FILE: cannot read {file}: {exc}") from exc
    if not content:
        raise UsageError(f"{name}_FILE: {file} is empty")
    return content


def _chatwoot_url(url: str | None, token: str) -> str | None:
    if bool(url) != bool(token):
        given, missing = (
            ("CHATWOOT_URL", "CHATWOOT_TOKEN") if url else ("CHATWOOT_TOKEN", "CHATWOOT_URL")
        )
        raise UsageError(f"{given} is set, but {missing} is not: answering takes both")
    if not url:
        return None
    if not _is_web_address(url):
        raise UsageError(f"CHATWOOT_URL is {url!r}: it must be like https://chat.example.com")
    return url


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) <= 65_535:
        return int(text)
    raise UsageError(f"the port is {text!r}: it must be a number up to 65535")


def _seconds(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError("must be a whole number of seconds")
    return int(text)
