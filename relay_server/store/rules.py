"""Rules of every store, whatever keeps it: bounds, spellings, the meaning of a selection. Pure."""

from __future__ import annotations

import json

MAX_SUBSCRIPTIONS = 1_000  # of a channel
MAX_RUNNING_REPLAYS = 16  # of a subscription
MAX_LISTED_REPLAYS = 500  # in one answer, the newest
CLOCK_JUMP_MS = 86_400_000  # events need not lie in order of time; further apart they do

_DIGITS = "0123456789"


def spellings(text: str) -> tuple[bytes, bytes, bytes]:
    """A text as it is, and in both ways that JSON is written: all in ASCII, and not."""
    ascii_, unicode = json.dumps(text), json.dumps(text, ensure_ascii=False)
    return text.encode(), ascii_[1:-1].encode(), unicode[1:-1].encode()


def means_key(wanted: str, key: str) -> bool:
    """True if somebody who asks for a key means this one.

    `318` means itself and the conversation 318 of any Chatwoot account (`2/318`); `2/318` means
    nothing else.
    """
    return key == wanted or ("/" not in wanted and key.lstrip(_DIGITS) == f"/{wanted}")
