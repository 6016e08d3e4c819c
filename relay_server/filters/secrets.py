"""Secrets in a text that is no JSON: forms, XML, lines, a body that was cut off. Pure.

They are known by the same names as a field of JSON is, and masked as far as their end can be told.
"""

from __future__ import annotations

import re

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

    def hide(found: re.Match[str]) -> str:
        name, value = found.groups()
        return name + (value[0] if value[0] in "\"'" else "") + mask

    return _NAMED.sub(hide, text)
