"""`relay-server channel` and `token`: asked, and shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from relay_server.cli import channels, subscriptions
from tests.unit.server.asking import Json
from tests.unit.server.commanding import Run, Shown, answer, catalog
from tests.unit.server.results import CHANNEL, POLICY, SUBSCRIPTION, TOKEN


def test_channels(command: Run, tmp_path: Path) -> None:
    command("init")
    secret = tmp_path / "secret"
    secret.write_text("  one\n")
    made = answer(
        command(
            *("channel", "create", "github", "--sender", "other", "--no-token", "--json"),
            *("--hmac-secret-file", str(secret), "--hmac-secret-file", "-", "--hmac-log-only"),
            *("--allow-from", "10.0.0.0/8", "--allow-from", "::1", "--max-body-bytes", "1000"),
            *("--key-pointer", "/a", "--retention-days", "0.5"),
            text="two\nrest",
        )
    )
    assert made["sender_auth"] == ["hmac:chatwoot (log only)", "ip"]
    assert (made["max_body_bytes"], made["retention_days"]) == (1_000, 0.5)

    changes = ("--no-hmac", "--token", "--allow-from", "", "--max-body-bytes", "0", "--json")
    changed = answer(command("channel", "set", "github", *changes))
    assert (changed["sender_auth"], changed["max_body_bytes"]) == (["token"], 1_048_576)
    assert (changed["key_pointer"], changed["sender"]) == ("/a", "other")

    status, out, err = command("channel", "delete", "github", text="n\n")
    assert (status, out.strip()) == (1, "")
    assert "Delete github with all its events?" in err
    assert command("channel", "delete", "github", "--yes")[:2] == (0, "Deleted github.\n")
    status, _, err = command("channel", "show", "github")
    assert (status, "no channel is named 'github'" in err) == (1, True)
    assert "relay-server channel list" in err


def test_policies_and_quotas_by_command(command: Run) -> None:
    answer(command("init", "--json"))
    line = "channel set chatwoot --retry-delays 5s,2m --strict-order --max-bytes 2G --drop-oldest"
    changed = answer(command(*line.split(), "--dead-days", "3", "--json"))
    assert changed["policy"]["retry_delays_s"] == [5, 120]
    assert changed["policy"]["strict_order"] is True
    assert (changed["max_bytes"], changed["drop_oldest"]) == (2**31, True)
    shown = command("channel", "show", "chatwoot")[1]
    for part in ("5s,2m", "at most 2 GiB", "the oldest go", "3 days"):
        assert part in shown
    lifetimes = ("--ttl", "typing_*=10s", "--ttl", "message_created=30m")
    mortal = answer(command("channel", "set", "chatwoot", *lifetimes, "--json"))
    assert mortal["ttl"] == [["typing_*", 10], ["message_created", 1_800]]
    assert answer(command("channel", "set", "chatwoot", "--ttl", "", "--json"))["ttl"] == []
    for given, refused_after in (("10s", 10), ("0", None)):
        refusing = answer(command("channel", "set", "chatwoot", "--refuse-after", given, "--json"))
        assert refusing["refuse_after_s"] == refused_after
    status, _, err = command("channel", "set", "chatwoot", "--ttl", "typing=soon")
    assert (status, "--ttl takes KIND=SPAN: 'soon' is no span" in err) == (1, True)
    bare = answer(command("channel", "set", "chatwoot", "--max-bytes", "0", "--json"))
    assert (bare["max_bytes"], bare["drop_oldest"]) == (None, True)


def test_what_a_policy_says(shown: Shown) -> None:
    text = " ".join(shown(subscriptions.show_subscription, SUBSCRIPTION).split())
    assert "0.5s,30s,2m,10h,7d (as its channel)" in text
    assert "2 failures or 1m (its own)" in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "0.5s,30s,2m,10h,7d\n"),
        ({}, "at most 1 GiB"),
        ({}, "allowed networks"),
        ({"policy": POLICY | {"retry_delays_s": []}}, "never"),
        ({"policy": POLICY | {"strict_order": True}}, "until it is settled"),
        ({"max_bytes": None}, "any size"),
        ({"drop_oldest": True}, "the oldest go"),
        ({"sender_auth": []}, "nothing: anybody may post"),
        ({"dedupe_window_s": 600.0}, "stored once within 10m"),
        ({"dedupe_window_s": 0.5}, "stored once within 0.5s"),
        ({"dedupe_window_s": 0.0}, "stored each time"),
        ({"ttl": []}, "too late never"),
        ({"refuse_after_s": 60.0}, "nobody there webhooks are refused after 1m"),
        ({"ttl": [["a*", 10.0], ["b", 60.0]]}, "a* after 10s, b after 1m"),
    ],
)
def test_what_is_said_of_a_channel(shown: Shown, changes: Json, said: str) -> None:
    text = shown(channels.show_channel, CHANNEL | changes)
    assert said in text or said in " ".join(text.split())


def test_names_that_are_no_paths_lead_nowhere_else(command: Run, data_dir: Path) -> None:
    answer(command("init", "--json"))
    before = catalog(data_dir)
    for name in ("../tokens/chatwoot", "x?y", "a/b", "..", "%2e%2e", "x#y", "é", ""):
        for arguments in (
            ("channel", "delete", name, "--yes"),
            ("channel", "show", name),
            ("token", "revoke", name),
            ("events", "show", name),
            ("subscription", "delete", name, name, "--yes"),
        ):
            status, out, err = command(*arguments)
            assert (status, out) == (1, ""), arguments
            assert err.startswith("Error: "), arguments
    assert catalog(data_dir) == before


def test_tokens_are_copied_from_a_line_of_their_own(shown: Shown) -> None:
    secret = "rly_" + "x" * 200
    lines = shown(channels.show_new_token, TOKEN | {"token": secret}).splitlines()
    assert secret in lines


def test_set_says_what_is_otherwise_now(command: Run) -> None:
    command("init")
    change = ("channel", "set", "chatwoot", "--retry-delays", "5s,2m")
    said = command(*change)[1]
    [line] = said.splitlines()
    assert (line[:22], line[-9:]) == ("retried after: 5s,30s,", " -> 5s,2m")
    assert command(*change)[1] == "Nothing is otherwise than before.\n"
    changed = answer(command("channel", "set", "chatwoot", "--drop-oldest", "--json"))["changed"]
    assert changed == {"drop_oldest": {"from": False, "to": True}}
    policy = ("subscription", "set", "chatwoot", "bot", "--retry-delays", "none")
    command("forward", "create", "chatwoot", "http://bot:8001/", "--name", "bot")
    assert "retried after: 5s,2m (as its channel) -> never" in command(*policy)[1]
    moved = command("forward", "set", "chatwoot", "bot", "--url", "http://bot:8002/")[1]
    assert "posts to: http://bot:8001/ -> http://bot:8002/" in moved


def test_a_new_token_says_what_it_is_for(command: Run) -> None:
    """As init does; nobody has to put a URL together."""
    command("init", "--public-url", "https://relay.example.com")
    channel = command("channel", "create", "support")[1]
    assert "posts to https://relay.example.com/c/support/webhook" in channel
    create = "token create support-sender --scope send --channel support"
    assert f"relay-server {create}" in channel

    made = answer(command(*create.split(), "--json"))
    assert made["webhook_urls"] == [
        {
            "channel": "support",
            "webhook_url": f"https://relay:{made['token']}@relay.example.com/c/support/webhook",
            "webhook_url_query": f"https://relay.example.com/c/support/webhook?token={made['token']}",
        }
    ]
    said = command("token", "create", "eva", "--scope", "SUBSCRIBE")[1]
    assert "  relay-client login https://relay.example.com\n" in said
    status, _, error = command("token", "create", "x", "--scope", "read")
    assert (status, "send, subscribe or admin" in error) == (1, True), error
