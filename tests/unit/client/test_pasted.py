"""A token as somebody pasted it, and what is said of one that is not good."""

from __future__ import annotations

import pytest

from relay_client.errors import TokenRefused, UsageError
from relay_client.pasted import pasted_token, refused
from relay_protocol.tokens import TOKEN_CHARS, TOKEN_PREFIX

TOKEN = TOKEN_PREFIX + "x" * (TOKEN_CHARS - len(TOKEN_PREFIX))


@pytest.mark.parametrize("around", ["{}", "  {}\r\n", '"{}"', "`{}`", "\ufeff{}", " ({})"])
def test_what_is_copied_along_with_a_token_goes(around: str) -> None:
    assert pasted_token(around.format(TOKEN)) == TOKEN


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"https://relay:{TOKEN}@relay.example.com/webhook", "that is a URL, and no token"),
        (f"Token: {TOKEN}", "one word is expected"),
        ("", "one word is expected"),
    ],
)
def test_what_can_be_no_token_is_not_asked_about(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        pasted_token(text)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("secret", "not accepted: tokens begin with rly_"),
        (TOKEN[:-1], "not accepted: it has 46 characters, where one has 47"),
        (TOKEN, "not accepted"),
    ],
)
def test_a_refusal_says_what_can_be_seen_of_the_token(token: str, said: str) -> None:
    told = refused(TokenRefused("not accepted", "Ask."), token)
    assert (str(told), told.hint) == (said, "Ask.")
    assert token not in str(told)
