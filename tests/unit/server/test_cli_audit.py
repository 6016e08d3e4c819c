"""`relay-server audit`: asked, and shown."""

from __future__ import annotations

from relay_server.cli import audit
from tests.unit.server.commanding import Run, Shown, answer
from tests.unit.server.results import AT

ENTRY = {
    "number": 7,
    "at": AT,
    "made_by": "ana",
    "address": "203.0.113.9",
    "action": "replay.begin",
    "what": "",
    "asked": {"subscription": "João"},
}


def test_what_commands_did_is_listed_by_whom(command: Run) -> None:
    command("init")
    command("channel", "create", "orders")
    command("channel", "delete", "orders", "--yes")

    found = answer(command("audit", "list", "--json"))["entries"]
    assert [(e["action"], e["what"], e["made_by"]) for e in found[:2]] == [
        ("channel.delete", "orders", ""),
        ("channel.create", "orders", ""),
    ]
    page = answer(command("audit", "list", "--limit", "1", "--json"))
    older = answer(command("audit", "list", "--before", str(page["next"]), "--json"))
    assert [*page["entries"], *older["entries"]] == found


def test_entries_for_people(shown: Shown) -> None:
    text = shown(audit.show_audit, {"entries": [ENTRY], "next": 7})
    for part in ("replay.begin", "by ana at 203.0.113.9: subscription João", "--before 7"):
        assert part in text
    here = ENTRY | {"made_by": "", "address": "", "asked": {}}
    assert "by somebody here\n" in shown(audit.show_audit, {"entries": [here], "next": None})
    assert shown(audit.show_audit, {"entries": [], "next": None}) == "Nothing is noted yet.\n"
