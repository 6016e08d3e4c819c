"""Filters as menus and chips."""

from __future__ import annotations

import pytest

from relay_server.dashboard.filtering import (
    Completion,
    chips_of,
    completions_of,
    menus_of,
    mine_of,
)
from relay_server.filters.language import parse
from relay_server.operations.seen import Choices

SEEN = Choices(["contact_updated", "message_created"], {"3": "Site", "5": "5"})


def test_a_choice_takes_the_place_of_its_word_and_leaves_the_rest() -> None:
    kinds, states, inboxes, times = menus_of(
        'kind:message_created -kind:x "bom dia" after:2026-07-02 before:2h', SEEN
    )
    assert (kinds.text, kinds.narrows) == ("message_created", True)
    rest = '-kind:x "bom dia" after:2026-07-02 before:2h'
    assert [(choice.text, choice.q) for choice in kinds.choices] == [
        ("all kinds", rest),
        ("contact_updated", f"{rest} kind:contact_updated"),
        ("message_created", f"{rest} kind:message_created"),
    ]
    assert [choice.chosen for choice in kinds.choices] == [False, False, True]
    assert (states.text, inboxes.text) == ("any state", "any inbox")
    assert times.text == "2026-07-02, 2h"
    assert times.choices[0].q == 'kind:message_created -kind:x "bom dia"'
    assert inboxes.choices[1][:2] == (
        "Site",
        f"kind:message_created {rest} inbox:3",
    )


def test_a_field_offers_what_its_text_may_go_on_with() -> None:
    found = completions_of('"bom dia" is:failed -from:bot', SEEN, ["ana", "a b"])
    before = '"bom dia" is:failed -from:bot'
    assert found[:2] == [
        Completion(f"{before} kind:contact_updated", ""),
        Completion(f"{before} kind:message_created", ""),
    ]
    assert Completion(f"{before} inbox:3", "Site") in found
    assert Completion(f"{before} inbox:5", "") in found
    assert Completion(f'{before} subscription:"a b"', "") in found
    offered = {one.q.removeprefix(before).split(":")[0].strip() for one in found}
    assert offered == {"kind", "from", "inbox", "subscription", "status", "after"}
    for one in completions_of("", SEEN, ["ana"]):
        parse(one.q, 0)
    many = completions_of("", Choices([f"k{n}" for n in range(99)], {}), map(str, range(999)))
    assert len(many) < 100


def test_a_kind_with_spaces_is_quoted() -> None:
    kinds = menus_of("", Choices(['or"der, paid'], {}))[0]
    assert kinds.choices[1].q == 'kind:"or der, paid"'


@pytest.mark.parametrize("q", ['"open', "kind:", "-"])
def test_what_cannot_be_read_gives_way_to_a_choice(q: str) -> None:
    assert menus_of(q, SEEN)[0].choices[1].q == "kind:contact_updated"
    assert chips_of(q) == []


def test_a_subscription_is_chosen_and_let_go_of() -> None:
    assert mine_of("is:failed subscription:bia", "ana").q == "is:failed subscription:ana"
    chosen = mine_of("subscription:ana is:failed", "ana")
    assert chosen.chosen
    assert chosen.q == "is:failed"


def test_a_chip_leads_to_the_filter_without_it() -> None:
    assert [tuple(chip) for chip in chips_of('kind:a "b c" -is:private')] == [
        ("kind:a", '"b c" -is:private'),
        ('"b c"', "kind:a -is:private"),
        ("-is:private", 'kind:a "b c"'),
    ]
