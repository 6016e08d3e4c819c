"""Text for people, at both ends: what strangers wrote made harmless, what a library says plain."""

from __future__ import annotations

import codecs

ZERO_WIDTH_JOINER = "\u200d"  # holds emoji families together; every other format char is a risk
SHORT_ID_CHARS = 8  # of an event's id, in lists: one of thousands rarely ends as another does


def harmless(text: str, limit: int = 200) -> str:
    """Replace what could steer a terminal, such as escapes and text direction overrides.

    Text longer than `limit` characters is cut, and ends in an ellipsis.
    """
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == ZERO_WIDTH_JOINER else "\ufffd" for c in text)


def decoded(content: bytes) -> str:
    """Read what people keep in a file: UTF-8, with or without a byte order mark.

    Raises:
        ValueError: It is something else; the message says what, e.g. "it is UTF-16 …".
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError("it is UTF-16, as PowerShell's > writes it: save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise ValueError(f"it is not UTF-8 (byte {exc.start + 1})") from exc


def short_id(id_: str) -> str:
    """The end of an event's id, by which people name it, and a relay finds it."""
    return harmless(id_[-SHORT_ID_CHARS:])


def plainly(message: str) -> str:
    """Say what is wrong with a value without the words of pydantic, which read both ends' options.

    `"Input should be a valid integer, unable to parse …"` is `"must be a whole number"`.
    """
    problem, _, _ = message.removeprefix("Value error, ").partition(", unable to ")
    problem = problem.replace("Input should be", "must be")
    return problem.replace("a valid integer", "a whole number").replace("a valid ", "a ")
