"""What somebody types into the search: which addresses lead to a conversation."""

from __future__ import annotations

import pytest

from relay_server.dashboard.search import key_in

CHATWOOT = "https://chat.example.com/app/accounts/2"


@pytest.mark.parametrize(
    "address",
    [
        f"{CHATWOOT}/conversations/318",
        f"{CHATWOOT}/inbox/3/conversations/318?messageId=7",
        f"{CHATWOOT}/conversations/318#end",
        "http://localhost:3000/chatwoot/app/accounts/2/label/x/conversations/318/",
    ],
)
def test_an_address_of_a_chatwoot_names_a_conversation(address: str) -> None:
    assert key_in(address) == "2/318"


@pytest.mark.parametrize(
    "text",
    [
        f"{CHATWOOT}/conversations/318 bolo",
        f"{CHATWOOT}/conversations",
        f"{CHATWOOT}/conversations/{'9' * 19}",
        f"{CHATWOOT}/inbox/3",
        "https://chat.example.com/conversations/318",
        "accounts/2/conversations/318",
        "",
        "https:// " + "/accounts/1/conversations/1" * 300 + " a b",
    ],
)
def test_what_is_none_is_searched_for(text: str) -> None:
    assert key_in(text) == ""
