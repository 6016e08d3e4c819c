"""A token as somebody pasted it."""

from __future__ import annotations

from relay_client.errors import TokenRefused, UsageError
from relay_client.settings import is_token
from relay_protocol.tokens import TOKEN_CHARS, TOKEN_PREFIX
from relay_terminal.words import _, plural

_AROUND = " \t\r\n\ufeff\"'`()"  # what is copied along with a token


def pasted_token(text: str) -> str:
    """The token in what was pasted.

    Raises:
        UsageError: There can be none.
    """
    token = text.strip(_AROUND)
    if "://" in token:
        raise UsageError(
            _("that is a URL, and no token: those begin with {prefix}").format(prefix=TOKEN_PREFIX),
            _("The URL of a relay, or of an invitation, goes behind relay-client login."),
        )
    if not is_token(token):
        raise UsageError(
            _("that is no token: one word is expected"), _("Copy it as it was printed.")
        )
    return token


def refused(error: TokenRefused, token: str) -> TokenRefused:
    """The refusal of a token, with what can be seen of it here."""
    if not token.startswith(TOKEN_PREFIX):
        why = _("tokens begin with {prefix}").format(prefix=TOKEN_PREFIX)
    elif len(token) != TOKEN_CHARS:
        why = plural(
            "it has {number} character, where one has {expected}",
            "it has {number} characters, where one has {expected}",
            len(token),
        ).format(expected=TOKEN_CHARS)
    else:
        return error
    return TokenRefused(f"{error}: {why}", error.hint)
