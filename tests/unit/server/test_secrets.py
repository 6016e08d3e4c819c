"""Secrets in what is no JSON: masked as far as their end can be told."""

from __future__ import annotations

import time

import pytest

from relay_server.filters.secrets import masked_text


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("a=1&token=abc&b=2", "a=1&token=~&b=2"),
        ("user[api_key]=abc&x", "user[api_key]=~&x"),
        ("user%5BPassword%5D=a+b%20c", "user%5BPassword%5D=~"),
        ('{"token": "two \\" words", "n": 1', '{"token": "~", "n": 1'),
        ('{"token": 12, "secret": [1, 2], "x', '{"token": ~, "secret": ~], "x'),
        ("password: abc\nuser: ana", "password: ~\nuser: ana"),
        ("Authorization: Bearer abc\r\nX: 1", "Authorization: ~\r\nX: 1"),
        ("<hmac_secret>abc</hmac_secret>", "<hmac_secret>~</hmac_secret>"),
        ('name="access_token"\r\n\r\nabc\r\n--x', 'name="access_token"\r\n\r\n~\r\n--x'),
        ("the token, and what is secret", "the token, and what is secret"),
        ("token_count=3&tokens=4", "token_count=3&tokens=4"),
        ("token=", "token="),
    ],
)
def test_what_is_named_like_a_secret_is_masked(text: str, masked: str) -> None:
    assert masked_text(text, "~") == masked


@pytest.mark.parametrize("part", ["token", "token=", 'token="', "token=[", "a", "token:  ", '"'])
def test_no_text_takes_long(part: str) -> None:
    began = time.process_time()
    masked_text(part * (65_536 // len(part)), "~")
    assert time.process_time() - began < 1
