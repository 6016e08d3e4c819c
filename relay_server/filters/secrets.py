"""Secrets in a text that is no JSON: forms, XML, lines, a body that was cut off. Pure.

They are known by the same names as a field of JSON is, and masked as far as their end can be told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from relay_server.filters.facts import SECRET_FIELD

SECRET_NAME = SECRET_FIELD.pattern.removesuffix("$")

# `token=…`, `user[token]=…`, `password: …`, `"api_key": […`, `<secret>…`, and a part of a form.
_NAMED = re.compile(
    rf"""({SECRET_NAME}(?:\]|%5D){{0,3}}["']?(?:\s{{0,3}}[:=]\s{{0,3}}|>|\r?\n\r?\n))"""
    r"""("(?:[^"\\]|\\.)+|'[^']+|\[[^]]*|\{[^}]*|(?:(?:bearer|basic)\s{1,3})?[^\s"'&;,<>]+)""",
    re.IGNORECASE | re.DOTALL,
)


def masked_text(text: str, mask: str) -> str:
    """A text with a mask in place of each secret; an opening quote stays."""
    parts, at = list[str](), 0
    for _name, (start, end) in named_secrets(text):
        parts += text[at:start], mask
        at = end
    return "".join([*parts, text[at:]])


def named_secrets(text: str) -> Iterator[tuple[str, tuple[int, int]]]:
    """The secrets of a text: what names each, and where it stands, without an opening quote."""
    for found in _NAMED.finditer(text):
        name, value = found.groups()
        yield name, (found.start(2) + (value[0] in "\"'"), found.end(2))
