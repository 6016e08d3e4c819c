"""Addresses are judged by what they stand for."""

from __future__ import annotations

import pytest

from relay_http.addresses import address_of, plain_address


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),  # an IPv4 peer of a socket that speaks IPv6
        ("::FFFF:cb00:7109", "203.0.113.9"),
        ("2001:DB8::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        (f"fe80::1%{'z' * 9_000}", "fe80::1"),
    ],
)
def test_an_address_is_read_as_what_it_stands_for(text: str, plain: str) -> None:
    assert str(plain_address(text)) == plain


@pytest.mark.parametrize(
    "text", ["", "localhost", "203.0.113", "010.0.0.1", "::ffff:1.2.3", "%", "1" * 9_000]
)
def test_what_is_no_address_is_none(text: str) -> None:
    assert plain_address(text) is None


@pytest.mark.parametrize(
    ("hop", "address"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7:51234", "203.0.113.7"),
        ('"203.0.113.7:51234"', "203.0.113.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ('"[2001:db8::1]:51234"', "2001:db8::1"),
        ("[fe80::1%eth0]:51234", "fe80::1%eth0"),
        ("::ffff:203.0.113.7", "::ffff:203.0.113.7"),
        ("unknown", "unknown"),
        ("_hidden", "_hidden"),
        ("_hidden:51234", "_hidden:51234"),
        ("203.0.113.7:", "203.0.113.7:"),
        ("203.0.113.7:http", "203.0.113.7:http"),
        ("", ""),
    ],
)
def test_a_port_behind_an_address_is_no_part_of_it(hop: str, address: str) -> None:
    assert address_of(hop) == address
