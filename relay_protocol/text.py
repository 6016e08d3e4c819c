"""Text for people, at both ends: what strangers wrote made harmless, what a library says plain."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Container, Mapping, Sequence

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


def well_formed(text: str) -> str:
    """Replace what UTF-8 cannot hold, such as half an emoji, and NUL, which databases refuse."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


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


def trimmed(values: Mapping[str, object], empty_counts: Container[str] = ()) -> dict[str, object]:
    """Settings without blanks around them, and without the empty ones that mean nothing."""
    kept = {n: v.strip() if isinstance(v, str) else v for n, v in values.items()}
    return {name: value for name, value in kept.items() if value != "" or name in empty_counts}


def plainly(message: str, say: Callable[[str], str] = str) -> str:
    """Say what is wrong with a value without the words of the library that read it.

    That is msgspec, or pydantic for a bot's events; `say` translates a template.
    """
    for pattern, ours in LIBRARIES_WORDS.items():
        if found := re.fullmatch(pattern, message, re.DOTALL):
            return say(ours).format(**found.groupdict())
    return message.removeprefix("Value error, ")


def one_of(text: str, words: Sequence[str]) -> str:
    """The one of some words that is meant, in whatever case it is written.

    Raises:
        ValueError: It is none of them; they are named.
    """
    if text.lower() not in words:
        raise ValueError(f"must be {either(words)}")
    return text.lower()


def either(words: Sequence[str]) -> str:
    """A choice of words: `pretty, plain or json`."""
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


# What msgspec says of a number that is too small or too large, and what we do.
BOUNDS_WORDS = {
    r"Expected `[^`]+` >= (?P<bound>\S+)": "must be at least {bound}",
    r"Expected `[^`]+` > (?P<bound>\S+)": "must be more than {bound}",
    r"Expected `[^`]+` <= (?P<bound>\S+)": "must be at most {bound}",
    r"Expected `[^`]+` < (?P<bound>\S+)": "must be less than {bound}",
}
# What a library says of a value, and what we do.
LIBRARIES_WORDS = BOUNDS_WORDS | {
    r"Expected `int`, got .*|Integer value out of range": "must be a whole number",
    r"Expected `float`, got .*": "must be a number",
    r"Expected `bool`, got .*": "must be true or false",
    r"Expected `str`, got .*": "must be text",
    r"Expected `array`, got .*": "must be a list",
    r"Input should be (?:a valid integer|less than 0 and the).*": "must be a whole number",
    r"Input should be a (?:valid|finite) number.*": "must be a number",
    r"Input should be a valid boolean.*": "must be true or false",
    r"Input should be a valid string": "must be text",
    r"Input should be a valid (?:list|tuple|set|dictionary)": "must be a list",
    r"Input should be a valid dictionary or instance of .*": "must be an object",
    r"Input (?:is not|should be) a valid path.*": "must be a path",
    r"Input should be greater than or equal to (?P<bound>\S+)": "must be at least {bound}",
    r"Input should be greater than (?P<bound>\S+)": "must be more than {bound}",
    r"Input should be less than or equal to (?P<bound>\S+)": "must be at most {bound}",
    r"Input should be less than (?P<bound>\S+)": "must be less than {bound}",
    r"Input should be (?P<words>'.*)": "must be {words}",
    r"\w+ should have at least (?P<bound>\d+) (?:character|item).*": "must have {bound} or more",
    r"\w+ should have at most (?P<bound>\d+) (?:character|item).*": "must have {bound} or fewer",
    r"Field required": "must be given",
    r"Extra inputs are not permitted": "is not known",
}
