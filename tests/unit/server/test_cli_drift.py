"""`relay-server drift`: shown, and what `status` says of it."""

from __future__ import annotations

from relay_server.cli import drifts, status
from tests.unit.server.commanding import Run, Shown, answer
from tests.unit.server.results import AT, STATUS

DRIFT = {
    "number": 3,
    "channel": "chatwoot",
    "kind": "conversation_updated",
    "at": AT,
    "before": "evt_1",
    "after": "evt_2",
    "came": ["meta.team.icon", "meta.\x1b[31mteam"],
    "went": [],
    "turned": [{"field": "id", "was": "number", "now": "text"}],
}


def test_a_change_of_fields_for_people(shown: Shown) -> None:
    text = shown(drifts.show_drifts, {"drifts": [DRIFT]})
    assert text.startswith("3  conversation_updated of chatwoot, since ")
    for part in ("came: meta.team.icon, meta.", "id was number, is text", "before: evt_1"):
        assert part in text
    assert "went" not in text
    assert "\x1b" not in text, "what senders name reaches no terminal"
    nothing = shown(drifts.show_drifts, {"drifts": []})
    assert nothing == "No kind of webhook has other fields than before.\n"
    assert "conversation_updated of chatwoot has other fields since" in shown(
        status.show_status, STATUS | {"drifts": [DRIFT]}
    )


def test_there_is_none_at_first(command: Run) -> None:
    command("init")
    assert answer(command("drift", "list", "--json")) == {"drifts": []}
    status, _, errors = command("drift", "dismiss", "1")
    assert status == 1
    assert "no change of fields has the number 1" in errors
