"""Sentences that were said in English elsewhere, in the language of who reads them here.

What a store keeps, an API hands on and an error was raised with is a whole English sentence: `the
target answered 503`. `locale/retold.json` has the templates of them, `the target answered
{status}`, which `make words` gathers where they are written. A text is looked up by the template
that it fits, the one with the longest constant part first; what stands in the fields is looked up
in turn, but for what is one word: that is a name, as of a channel called "none". What fits none,
as the words of another version may, stays as it is.
"""

from __future__ import annotations

import functools
import gettext
import json
import re
from typing import NamedTuple

from relay_protocol.errors import RelayError
from relay_terminal.words import LOCALE, N_, _, catalogue

TEMPLATES = LOCALE / "retold.json"  # a list
MAX_CHARS = 1_000  # of a sentence; a longer text is none
CHOICES = ("words", "kind")  # fields that have one: `pretty, plain or json`
OR = N_(" or ")
_FIELD = re.compile(r"\{(\w+)\}")


def retold(text: str) -> str:
    """A sentence in the reader's language; as it is where there is no translation."""
    known = catalogue()
    if type(known) is gettext.NullTranslations or not text or len(text) > MAX_CHARS:
        return text
    return _retold(text, known)


def told(error: RelayError) -> tuple[str, str]:
    """What is said of an error, and the hint, in the reader's language; names stay as they are."""
    facts = [retold(f) if isinstance(f, str) and " " in f else f for f in error.facts]
    return _(error.message).format(*facts), retold(error.hint)


class _Template(NamedTuple):
    """A sentence with fields.

    Attributes:
        parts: What is constant of it; a text that has not all of them does not fit.
    """

    text: str
    parts: tuple[str, ...]

    def fields_of(self, text: str) -> dict[str, str] | None:
        """What a text has in the fields; None where it does not fit."""
        if not all(part in text for part in self.parts):
            return None
        found = _pattern(self.text).fullmatch(text)
        return None if found is None else found.groupdict()


@functools.lru_cache(1_024)
def _retold(text: str, known: gettext.NullTranslations) -> str:
    if (said := known.gettext(text)) != text:
        return said
    for template in _templates():
        if (fields := template.fields_of(text)) is not None:
            filled = {n: _retold(v, known) if " " in v else v for n, v in fields.items()}
            filled |= {n: _choice(filled[n], known) for n in CHOICES if n in filled}
            return known.gettext(template.text).format(**filled)
    before, colon, rest = text.partition(": ")  # where something is: what is wrong with it
    return f"{before}: {_retold(rest, known)}" if colon else text


def _choice(text: str, known: gettext.NullTranslations) -> str:
    return known.gettext(OR).join(text.rsplit(OR, 1))


@functools.cache
def _templates() -> list[_Template]:
    texts = json.loads(TEMPLATES.read_bytes())
    found = [_Template(text, tuple(_FIELD.split(text)[::2])) for text in texts]
    return sorted(found, key=lambda one: -sum(map(len, one.parts)))


@functools.cache
def _pattern(template: str) -> re.Pattern[str]:
    constant, *rest = _FIELD.split(template)
    pattern = re.escape(constant)
    for name, part in zip(rest[::2], rest[1::2], strict=True):
        pattern += f"(?P<{name}>.*?){re.escape(part)}"
    return re.compile(pattern, re.DOTALL)
