"""Lines for the terminal."""

from __future__ import annotations

import unicodedata
from datetime import datetime

# Controls, surrogates, line and paragraph separators; the joiners of emoji (Cf) stay.
_UNFIT = {"Cc", "Cs", "Zl", "Zp"}
# These turn the direction of all that follows, and so can make a line read as another.
_DIRECTIONS = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def one_line(text: str, limit: int = 160) -> str:
    """Customers' words, safe to print: no line breaks, no control codes, at most `limit` long."""
    fit = "".join(" " if _is_unfit(character) else character for character in text)
    line = " ".join(fit.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def webhook_line(event: str, conversation_id: int | None, did: str) -> str:
    """One webhook's line: time, event, conversation, what was done."""
    time = datetime.now().astimezone().strftime("%H:%M:%S")
    conversation = "" if conversation_id is None else f"#{conversation_id}"
    return f"{time}  {one_line(event, 40):<27}  {conversation:<6}  {one_line(did, 240)}"


def _is_unfit(character: str) -> bool:
    return unicodedata.category(character) in _UNFIT or character in _DIRECTIONS
