"""Text of strangers, made harmless for a terminal: both ends show what senders wrote."""

from __future__ import annotations

ZERO_WIDTH_JOINER = "\u200d"  # holds emoji families together; every other format char is a risk


def harmless(text: str, limit: int = 200) -> str:
    """Replace what could steer a terminal, such as escapes and text direction overrides.

    Text longer than `limit` characters is cut, and ends in an ellipsis.
    """
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == ZERO_WIDTH_JOINER else "\ufffd" for c in text)
