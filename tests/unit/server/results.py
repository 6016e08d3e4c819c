"""Results of commands as the API answers them, and how each is shown to people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from relay_server.cli import channels, events, host, replays, subscriptions
from tests.unit.server.asking import Json

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
    "subscriptions": (subscriptions.show_subscriptions, {"subscriptions": [SUBSCRIPTION]}),
    "channels": (channels.show_channels, {"channels": [CHANNEL]}),
    "channel": (channels.show_channel, CHANNEL),
    "tokens": (channels.show_tokens, {"tokens": [TOKEN]}),
    "new token": (channels.show_new_token, TOKEN | {"token": "rly_x"}),
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
    "subscription": (subscriptions.show_subscription, SUBSCRIPTION),
    "paused": (subscriptions.show_paused, SUBSCRIPTION | {"paused": "410"}),
    "forwards": (subscriptions.show_forwards, {"forwards": [FORWARD | {"paused": "410"}]}),
    "forward": (subscriptions.show_forward, FORWARD | {"connected": False}),
    "begun": (replays.show_begun, {"running": False, "replays": [REPLAY | {"paused": "410"}]}),
    "replays": (replays.show_replays, {"replays": [REPLAY]}),
    "replay": (replays.show_replay, REPLAY),
    "stopped": (replays.show_stopped, REPLAY),
    "dead": (replays.show_dead, {"dead": [DEAD]}),
    "discarded": (replays.show_discarded, {"discarded": 2}),
}


def poisoned(value: Any, text: str) -> Any:
    """A copy in which every text of others ends in this one; states are the server's own."""
    match value:
        case str():
            return value + text
        case dict():
            return {k: v if k == "state" else poisoned(v, text) for k, v in value.items()}
        case list():
            return [poisoned(item, text) for item in value]
        case _:
            return value
