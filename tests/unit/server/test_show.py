"""How results look to people: whole where it matters, and harmless whoever wrote them."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest

from relay_server.cli import channel, dead, events, forward, host, replay, subscription, token

Json = dict[str, Any]

# What could steer a terminal, or show one thing for another.
HOSTILE = "a\x1b]0;owned\x07b\x1b[2Jc\u202eevil\u2066d\r\ne\x9b31m\x00\u2028f\udfffg\tz"
STEERING = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
ID = "evt_01f0c6a2-7b1e-7c3d-8e4f-0123456789ab"
AT = 1_783_000_810_000

DELIVERY: Json = {
    "subscription": "ana",
    "state": "waiting",
    "attempt": 2,
    "status": 503,
    "reason": "the target answers 503",
    "due_at": AT + 5_000,
    "replay": None,
}
EVENT: Json = {
    "id": ID,
    "channel": "chatwoot",
    "sequence": 7,
    "received_at": AT,
    "kind": "message_created",
    "key": "42",
    "method": "POST",
    "request_target": "/webhook?a=%2F",
    "sender": "203.0.113.9",
    "size": 20,
    "conflict": False,
    "repeat_of": None,
    "damaged": False,
    "headers": [["Content-Type", "application/json"], ["Authorization", "•••"]],
    "body": '{"content":"Olá 👋"}',
    "body_base64": "",
    "deliveries": [DELIVERY],
    "attempts": [
        {
            "subscription": "ana",
            "replay": None,
            "attempt": 1,
            "started_at": AT,
            "elapsed_ms": 12,
            "outcome": "response",
            "status": 503,
            "text": "busy",
        },
        {
            "subscription": "ana",
            "replay": 3,
            "attempt": 2,
            "started_at": AT,
            "elapsed_ms": 1,
            "outcome": "target_lost",
            "status": None,
            "text": "reset",
        },
    ],
}
POLICY: Json = {
    "retry_delays_s": [0.5, 30.0, 120.0, 36_000.0, 604_800.0],
    "other_tries": 3,
    "hold_failures": 2,
    "hold_s": 60.0,
    "strict_order": False,
}
SUBSCRIPTION: Json = {
    "channel": "chatwoot",
    "name": "ana",
    "connected": True,
    "readers": 1,
    "target_down": False,
    "waits_for": "",
    "paused": "",
    "forward": None,
    "policy": POLICY,
    "own_policy": {"hold_s": 60.0},
    "created_at": AT,
    "backlog": 3,
    "oldest_waiting_at": AT,
    "dead": 1,
}
CHANNEL: Json = {
    "name": "chatwoot",
    "webhook_path": "/webhook",
    "sender": "chatwoot",
    "sender_auth": ["token", "hmac:chatwoot"],
    "allow_from": [],
    "key_pointer": "",
    "max_body_bytes": 1_048_576,
    "retention_days": 7.0,
    "rate_per_s": None,
    "dedupe_window_s": 600.0,
    "dead_days": 30.0,
    "max_bytes": 1_073_741_824,
    "drop_oldest": False,
    "policy": POLICY,
    "created_at": AT,
}
TOKEN: Json = {"name": "ana", "scopes": ["subscribe"], "channels": None, "created_at": AT}
STATUS: Json = {
    "running": True,
    "version": "1.0",
    "public_url": "https://relay.example.com",
    "uptime_s": 7_200,
    "channels": [
        {
            "name": "chatwoot",
            "events": 5,
            "bytes": 858_993_459,
            "max_bytes": 1_073_741_824,
            "full_percent": 80.0,
            "worrying": True,
            "dropped": 4,
            "drop_oldest": False,
            "last_received_at": None,
        }
    ],
    "subscriptions": [SUBSCRIPTION],
    "store": {"taking": True, "reason": ""},
    "settings": {"port": {"value": 8802, "source": "default"}},
}
INIT: Json = {
    "data_dir": "/data",
    "url": "https://relay.example.com",
    "channel": "chatwoot",
    "running": False,
    "send_token": "rly_send",
    "subscribe_token": "rly_subscribe",
    "webhook_url": "https://relay:rly_send@relay.example.com/webhook",
    "webhook_url_query": "https://relay.example.com/webhook?token=rly_send",
    "client_command": "",
}
FORWARD: Json = SUBSCRIPTION | {
    "name": "forward",
    "forward": "http://bot:8001/webhook",
    "url": "http://bot:8001/webhook",
    "timeout_s": 30.0,
    "concurrency": 8,
    "headers": {"Authorization": "•••"},
}
REPLAY: Json = {
    "number": 3,
    "channel": "chatwoot",
    "subscription": "ana",
    "state": "running",
    "selection": {
        "events": 2,
        "first": 4,
        "last": 9,
        "received_from": AT,
        "received_before": AT,
        "kind": "message_created",
        "key": "42",
        "text": "refund",
        "dead": True,
    },
    "rate_per_s": 200.0,
    "at_most": 2,
    "delivered": 1,
    "percent": 50.0,
    "made_by": "",
    "created_at": AT,
    "ended_at": None,
    "connected": True,
    "paused": "",
}
DEAD: Json = {
    "id": ID,
    "channel": "chatwoot",
    "subscription": "ana",
    "sequence": 7,
    "received_at": AT,
    "kind": "message_created",
    "key": "42",
    "size": 20,
    "reason": "the target answered 500",
    "attempts": 10,
    "ended_at": AT,
}
RESULTS: dict[str, tuple[Callable[[Json], None], Json]] = {
    "event": (events.show_event, EVENT),
    "events": (events.show_events, {"events": [EVENT]}),
    "status": (host.show_status, STATUS),
    "subscriptions": (subscription.show_subscriptions, {"subscriptions": [SUBSCRIPTION]}),
    "channels": (channel.show_channels, {"channels": [CHANNEL]}),
    "channel": (channel.show_channel, CHANNEL),
    "tokens": (token.show_tokens, {"tokens": [TOKEN]}),
    "new token": (token.show_new_token, TOKEN | {"token": "rly_x"}),
    "restore": (
        host.show_restore,
        {
            "file": "/backups/relay.db",
            "data_dir": "/data",
            "kept": "/data/relay.db.before-restore-20260702T101112Z",
            "channels": 1,
            "events": 7,
            "newest_at": 1_780_000_000_000,
        },
    ),
    "backup": (host.show_backup, {"file": "/backups/relay.db"}),
    "init": (host.show_init, INIT),
    "subscription": (subscription.show_subscription, SUBSCRIPTION),
    "paused": (subscription.show_paused, SUBSCRIPTION | {"paused": "410"}),
    "forwards": (forward.show_forwards, {"forwards": [FORWARD | {"paused": "410"}]}),
    "forward": (forward.show_forward, FORWARD | {"connected": False}),
    "begun": (replay.show_begun, {"running": False, "replays": [REPLAY | {"paused": "410"}]}),
    "replays": (replay.show_replays, {"replays": [REPLAY]}),
    "replay": (replay.show_replay, REPLAY),
    "stopped": (replay.show_stopped, REPLAY),
    "dead": (dead.show_dead, {"dead": [DEAD]}),
    "discarded": (dead.show_discarded, {"discarded": 2}),
}

TELL_NO_TEXT = ("status", "discarded", "stopped")

Shown = Callable[[Callable[[Json], None], Json], str]


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shown:
    """What a command prints on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TZ", "UTC")

    def show_it(render: Callable[[Json], None], result: Json) -> str:
        render(result)
        return capsys.readouterr().out

    return show_it


def poisoned(value: Any) -> Any:
    """A copy whose every text is hostile, but for what the server itself wrote."""
    match value:
        case str():
            return value + HOSTILE
        case dict():
            return {k: v if k == "state" else poisoned(v) for k, v in value.items()}
        case list():
            return [poisoned(item) for item in value]
        case _:
            return value


@pytest.mark.parametrize("name", RESULTS)
def test_nothing_that_is_shown_steers_the_terminal(shown: Shown, name: str) -> None:
    render, result = RESULTS[name]
    before = copy.deepcopy(result)
    text = shown(render, poisoned(result))
    assert STEERING.search(text) is None
    assert "evil" in text or name in TELL_NO_TEXT, "it is shown, only harmless"
    assert result == before


@pytest.mark.parametrize("length", [1, 30, 400])
def test_wide_tables_keep_ids_and_times_whole(shown: Shown, length: int) -> None:
    wide = EVENT | {
        "kind": "k" * length,
        "key": "🦆" * length,
        "deliveries": [DELIVERY | {"subscription": "João da Silva " * length}] * 3,
    }
    text = shown(events.show_events, {"events": [wide, EVENT | {"id": ID[:-1] + "c"}]})
    lines = text.splitlines()
    assert sum(ID in line for line in lines) == 1
    assert sum(ID[:-1] + "c" in line for line in lines) == 1
    assert len(re.findall(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", text, re.MULTILINE)) == 2
    assert text.count("k") >= length, "nothing is cut away"


def test_nothing_came_in_yet(shown: Shown) -> None:
    assert shown(events.show_events, {"events": []}) == "Nothing came in yet.\n"


def test_an_event_whole(shown: Shown) -> None:
    text = shown(events.show_event, EVENT)
    for part in (
        ID,
        "chatwoot, number 7",
        "POST /webhook?a=%2F",
        "Content-Type: application/json",
        "Authorization: •••",
        '"content": "Olá 👋"',
        "503: busy",
        "target lost: reset",
        "ana: waiting, next attempt ",
        "(the target answers 503)",
    ):
        assert part in text
    assert not {"sent before as", "damaged"} & set(text.replace("  ", "\n").splitlines())


def test_an_event_that_was_sent_before_and_one_that_is_damaged(shown: Shown) -> None:
    text = shown(events.show_event, EVENT | {"repeat_of": "evt_1", "damaged": True})

    assert re.search("sent before as +evt_1", text)
    assert "sent to nobody" in text


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (600.0, "stored once within 10m"),
        (0.5, "stored once within 0.5s"),
        (0.0, "stored each time"),
    ],
)
def test_how_long_a_channel_knows_what_it_stored(shown: Shown, seconds: float, said: str) -> None:
    assert said in shown(channel.show_channel, CHANNEL | {"dedupe_window_s": seconds})


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (None, "(20 bytes that are no text; --json gives them in base64)"),
        ("plain", "plain"),
        ("[" * 100_000, "… 80000 characters more"),
        ('{"n":' + "9" * 5_000 + "}", "999"),
        ('"\\ud800"', "\ufffd"),
        ("line\nline", "line\nline"),
        ("x" * 20_001, "… 1 characters more"),
    ],
)
def test_any_body(shown: Shown, body: str | None, part: str) -> None:
    assert part in shown(events.show_event, EVENT | {"body": body})


def test_brackets_are_no_markup(shown: Shown) -> None:
    odd = "[red]x[/red] [link=http://evil]y[/] [/]"
    text = shown(events.show_event, EVENT | {"kind": odd, "body": odd})
    assert text.count(odd) == 2
    assert "[bold]z" in shown(token.show_tokens, {"tokens": [TOKEN | {"name": "[bold]z"}]})


@pytest.mark.parametrize(
    ("changes", "reader"),
    [
        ({}, "connected"),
        ({"readers": 2}, "connected ×2"),
        ({"target_down": True, "waits_for": "refused"}, "waits for its target (refused)"),
        ({"connected": False}, "away"),
        ({"forward": "http://bot/"}, "forward to http://bot/"),
        ({"forward": "http://bot/", "connected": False}, "forward to http://bot/, not running"),
        ({"paused": "paused by hand"}, "PAUSED, connected"),
    ],
)
def test_who_reads(
    shown: Shown, monkeypatch: pytest.MonkeyPatch, changes: Json, reader: str
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    found = {"subscriptions": [SUBSCRIPTION | changes]}
    text = " ".join(shown(subscription.show_subscriptions, found).split())
    assert reader in text
    assert ("relay-server subscription resume chatwoot ana" in text) == ("PAUSED" in reader)


def test_a_pause_is_not_overlooked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    paused = SUBSCRIPTION | {"paused": "the target answered 410"}
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    subscription.show_subscriptions({"subscriptions": [paused]})
    [line] = [x for x in capsys.readouterr().out.splitlines() if "answered 410" in x]
    assert line.startswith("\x1b[1;31m")


@pytest.mark.parametrize(
    ("percent", "worrying", "drop_oldest", "said"),
    [
        (79.9, False, False, None),
        (None, False, False, None),
        (80.0, False, False, "80 % full; what was delivered goes when room is needed"),
        (80.0, True, False, "chatwoot is 80 % full; at 100 % webhooks are refused"),
        (93.5, True, True, "chatwoot is 93.5 % full; at 100 % the oldest events go"),
    ],
)
def test_a_channel_that_is_nearly_full(
    shown: Shown, percent: float | None, worrying: bool, drop_oldest: bool, said: str | None
) -> None:
    config = {"full_percent": percent, "worrying": worrying, "drop_oldest": drop_oldest}
    channel = STATUS["channels"][0] | config
    text = shown(host.show_status, STATUS | {"channels": [channel]})
    assert "819 MiB" in text
    assert (said or "chatwoot is ") in text or said is None
    assert (said is None) == ("% full;" not in text)
    assert worrying == ("% full; at" in text)


def test_what_a_policy_says(shown: Shown) -> None:
    text = " ".join(shown(subscription.show_subscription, SUBSCRIPTION).split())
    assert "0.5s,30s,2m,10h,7d (as its channel)" in text
    assert "2 failures or 1m (its own)" in text
    text = shown(channel.show_channel, CHANNEL)
    assert "0.5s,30s,2m,10h,7d\n" in text
    assert "at most 1 GiB" in text
    bare = CHANNEL | {
        "policy": POLICY | {"retry_delays_s": [], "strict_order": True},
        "max_bytes": None,
        "drop_oldest": True,
    }
    text = shown(channel.show_channel, bare)
    for said in ("never", "until it is settled", "any size", "the oldest go"):
        assert said in text


def test_what_a_replay_is_of(shown: Shown) -> None:
    text = shown(replay.show_replay, REPLAY)
    for part in (
        "2 events by id, from number 4, up to number 9, since 2026-",
        "kind message_created, key 42, with 'refund', dead ones",
        "50 %, 1 delivered",
        "by somebody here",
    ):
        assert part in text
    assert "everything" in shown(replay.show_replay, REPLAY | {"selection": {}})
    assert "without key" in shown(replay.show_replay, REPLAY | {"selection": {"key": ""}})


@pytest.mark.parametrize(
    ("changes", "running", "said"),
    [
        ({}, True, "Replay 3 for ana of chatwoot: "),
        ({}, True, "relay-server replays list"),
        ({"connected": False}, True, "Nobody reads ana now"),
        ({"paused": "paused by hand"}, True, "ana is PAUSED: paused by hand"),
        ({"connected": False}, False, "It begins with the server"),
    ],
)
def test_a_replay_was_begun(shown: Shown, changes: Json, running: bool, said: str) -> None:
    assert said in shown(replay.show_begun, {"running": running, "replays": [REPLAY | changes]})


def test_an_attempt_of_a_replay_is_marked(shown: Shown) -> None:
    text = " ".join(shown(events.show_event, EVENT).split())
    assert "ana (replay 3) 2 " in text
    assert "ana 1 " in text


@pytest.mark.parametrize(
    ("changes", "reader"),
    [
        ({}, "runs"),
        ({"connected": False}, "not running"),
        ({"connected": False, "waits_for": "it is starting"}, "waits"),
        ({"connected": False, "paused": "410"}, "PAUSED, not running"),
        ({"target_down": True, "waits_for": "goes away"}, "waits for its target"),
    ],
)
def test_a_forward_in_80_columns(shown: Shown, changes: Json, reader: str) -> None:
    """A line of the table, whole; below it the URL, and why it waits."""
    one = FORWARD | changes
    text = shown(forward.show_forwards, {"forwards": [one]})
    _, line, *below = text.splitlines()
    assert re.search(rf"^chatwoot  forward  {reader}  +3  +20\d\d-[0-9-]+ [0-9:]+  1 *$", line)
    why = f" ({one['waits_for']})" if one["waits_for"] else ""
    assert f"forward of chatwoot posts to http://bot:8001/webhook{why}" in below


def test_subscriptions_in_80_columns(shown: Shown) -> None:
    """A reason does not break the table; it has a line of its own."""
    waits = SUBSCRIPTION | {"target_down": True, "waits_for": "10.0.0.5:8001 does not answer"}
    text = shown(subscription.show_subscriptions, {"subscriptions": [waits]})
    _, line, _, why = text.splitlines()
    assert line.split()[-1] == "1"
    assert why == "ana of chatwoot: waits for its target (10.0.0.5:8001 does not answer)"


def test_settings_stay_whole_in_80_columns(shown: Shown) -> None:
    """A name to be copied is not broken; nothing reads like a program's own value."""
    name = "max_connections_per_address"
    settings = {
        name: {"value": 1_024, "source": "default"},
        "forward_allow": {"value": ["bot", "10.0.0.0/8"], "source": "RELAY_SERVER_FORWARD_ALLOW"},
        "tls_key_file": {"value": None, "source": "default"},
        "trusted_proxies": {"value": [], "source": "default"},
    }
    text = shown(host.show_status, STATUS | {"settings": settings})
    assert f"{name}  1024" in text
    assert "bot, 10.0.0.0/8" in text
    assert re.search(r"tls_key_file +- ", text)
    assert re.search(r"trusted_proxies +- ", text)


def test_nothing_there(shown: Shown) -> None:
    assert shown(dead.show_dead, {"dead": []}) == "Nothing is dead.\n"
    assert "relay-server forward create" in shown(forward.show_forwards, {"forwards": []})
    assert shown(replay.show_replays, {"replays": []}) == "There is no replay.\n"


def test_replays_in_80_columns(shown: Shown) -> None:
    """Two lines each, which no table breaks."""
    first, second = shown(replay.show_replays, {"replays": [REPLAY]}).splitlines()
    assert first == "3  ana of chatwoot: running, 50 %, 1 delivered"
    assert second.startswith("    begun 20")
    assert second.endswith("kind message_created, key 42, with 'refund', dead ones")


def test_a_dead_delivery(shown: Shown) -> None:
    text = shown(dead.show_dead, {"dead": [DEAD]})
    assert ID in text
    assert "answered 500" in " ".join(text.split())


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 seconds"),
        (119, "119 seconds"),
        (120, "2 minutes"),
        (7_200, "2 hours"),
        (172_800, "2 days"),
    ],
)
def test_how_long_it_runs(shown: Shown, seconds: int, said: str) -> None:
    text = shown(host.show_status, STATUS | {"uptime_s": seconds})
    assert f"Running for {said} at https://relay.example.com, version 1.0." in text


def test_a_server_that_does_not_run(shown: Shown) -> None:
    text = shown(host.show_status, STATUS | {"running": False})
    assert "Not running: relay-server serve starts it." in text


def test_a_channel_that_asks_for_nothing(shown: Shown) -> None:
    text = shown(channel.show_channel, CHANNEL | {"sender_auth": []})
    assert "nothing: anybody may post" in text
    assert "allowed networks" in text


def test_tokens_are_copied_from_a_line_of_their_own(shown: Shown) -> None:
    secret = "rly_" + "x" * 200
    lines = shown(token.show_new_token, TOKEN | {"token": secret}).splitlines()
    assert secret in lines


def test_what_to_do_next_after_init(shown: Shown) -> None:
    text = shown(host.show_init, INIT)
    lines = [line.strip() for line in text.splitlines()]
    for line in (
        "relay-server serve",
        INIT["webhook_url"],
        INIT["webhook_url_query"],
        "relay-client login https://relay.example.com",
        "relay-client connect --to localhost:8000",
    ):
        assert line in lines
    again = INIT | dict.fromkeys(("send_token", "subscribe_token", "webhook_url"), None)
    text = shown(host.show_init, again | {"running": True})
    assert "rly_" not in text
    assert "exists already" in text
    assert "relay-server serve" not in text
