"""What a bot is told by its environment."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from relay_chatwoot.api import plain_url
from relay_chatwoot.errors import NotChatwoot
from relay_client.chatwoot.ledger import IN_MEMORY
from relay_client.errors import UsageError
from relay_terminal.words import _


@dataclass(frozen=True, slots=True)
class BotSettings:
    """How a bot runs.

    Attributes:
        url: The Chatwoot, `https://chat.example.com`; empty if answers are only printed.
        token: The agent bot's access token.
        bot: The agent bot's number, as `relay-server chatwoot` shows it; None if it is not known,
            and then each agent bot counts as this one.
        secrets: Of the webhooks; none if signatures are not checked.
        tolerance_s: Between signing and arrival; 0 if that is not checked.
        ledger: What is owed and what was said lies in this file.
        burst_s: A customer is silent for so long before a reply is asked for.
        reply_s: A reply may take so long.
        at_once: Conversations that are worked on at the same time.
    """

    url: str = ""
    token: str = field(default="", repr=False)
    bot: int | None = None
    secrets: tuple[str, ...] = field(default=(), repr=False)
    tolerance_s: int = 300
    ledger: Path = Path("bot.db")
    burst_s: float = 3.0
    reply_s: float = 300.0
    at_once: int = 100


def read_settings(environment: Mapping[str, str] | None = None) -> BotSettings:
    """Read the environment.

    Raises:
        UsageError: Something is impossible.
    """
    given = os.environ if environment is None else environment
    default = BotSettings()
    url, token = given.get("CHATWOOT_URL", "").strip(), _secret(given, "CHATWOOT_TOKEN")
    bot = _whole(given, "CHATWOOT_BOT", 0, (0, 2**63 - 1))
    return BotSettings(
        url=_url(url, token),
        token=token,
        bot=bot or None,
        secrets=tuple(_secret(given, "CHATWOOT_WEBHOOK_SECRET").replace(",", " ").split()),
        tolerance_s=_whole(given, "BOT_TOLERANCE_SECONDS", default.tolerance_s, (0, 86_400)),
        ledger=ledger_file(given) if url or given.get("BOT_LEDGER") else Path(IN_MEMORY),
        burst_s=_number(given, "BOT_BURST_SECONDS", default.burst_s, (0, 60)),
        reply_s=_number(given, "BOT_REPLY_SECONDS", default.reply_s, (1, 3_600)),
        at_once=_whole(given, "BOT_AT_ONCE", default.at_once, (1, 1_000)),
    )


def ledger_file(environment: Mapping[str, str] | None = None) -> Path:
    """Where a bot's ledger lies; one that only prints answers keeps none, unless it is named."""
    given = os.environ if environment is None else environment
    return Path(given.get("BOT_LEDGER", "").strip() or BotSettings().ledger)


def _url(url: str, token: str) -> str:
    if bool(url) != bool(token):
        given, missing = ("CHATWOOT_URL", "CHATWOOT_TOKEN")[:: 1 if url else -1]
        raise UsageError(
            _("{given} is set, but {missing} is not").format(given=given, missing=missing),
            _("To answer takes both; without both, answers are only printed."),
        )
    try:
        return plain_url(url) if url else ""
    except NotChatwoot as exc:
        raise UsageError(f"CHATWOOT_URL: {exc}", exc.hint) from exc


def _secret(given: Mapping[str, str], name: str) -> str:
    """What stands in NAME, or in the file that NAME_FILE names; empty if neither is set."""
    value, file = given.get(name, "").strip(), given.get(f"{name}_FILE", "")
    if not file:
        return value
    if value:
        raise UsageError(_("{name} and {name}_FILE are both set: unset one").format(name=name))
    try:
        content = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as exc:
        raise UsageError(f"{name}_FILE: {exc}") from exc
    if not content:
        raise UsageError(_("{name}_FILE: {file} is empty").format(name=name, file=file))
    return content


def _whole(given: Mapping[str, str], name: str, default: int, bounds: tuple[int, int]) -> int:
    number = _number(given, name, default, bounds)
    if number % 1:
        text = _("{name} is {text!r}: a whole number is expected")
        raise UsageError(text.format(name=name, text=given[name]))
    return int(number)


def _number(
    given: Mapping[str, str], name: str, default: float, bounds: tuple[float, float]
) -> float:
    text = given.get(name, "").strip()
    try:
        number = float(text) if text else float(default)
    except ValueError:
        number = math.nan
    if not bounds[0] <= number <= bounds[1]:
        raise UsageError(
            _("{name} is {text!r}: a number from {least:g} to {most:g} is expected").format(
                name=name, text=text, least=bounds[0], most=bounds[1]
            )
        )
    return number
