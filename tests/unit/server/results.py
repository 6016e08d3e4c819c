"""Results of commands as the API answers them, and how each is shown to people."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import msgspec

from relay_server.cli import channels as channel_commands
from relay_server.cli import events as event_commands
from relay_server.cli import host, status
from relay_server.cli import replays as replay_commands
from relay_server.cli import subscriptions as subscription_commands
from relay_server.configs import (
    ChannelConfig,
    ForwardConfig,
    HmacAuth,
    Policy,
    PolicyChanges,
    SubscriptionConfig,
)
from relay_server.delivery.readers import ReaderState
from relay_server.operations import (
    Caller,
    Parts,
    channels,
    dead,
    forwards,
    progress,
    subscriptions,
)
from relay_server.reported import DeadDelivery, ReplayProgress, SubscriptionStatus
from relay_server.values import (
    Catalog,
    Channel,
    EventSummary,
    Replay,
    ReplayState,
    Scope,
    Selection,
    Subscription,
    Token,
)
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
    "kept": True,
    "edited_from": None,
    "made_by": None,
    "pinned": "",
    "headers": [["Content-Type", "application/json"], ["Authorization", "•••"]],
    "body": '{"content":"Olá 👋"}',
    "body_base64": "",
    "deliveries": [DELIVERY],
    "hand_off": [],
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
            "size": 4,
            "headers": [["content-type", "text/plain"]],
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
            "size": None,
            "headers": [],
        },
    ],
}


CONFIG = ChannelConfig(
    hmac=HmacAuth("chatwoot", (b"sealed",)),
    policy=Policy((0.5, 30.0, 120.0, 36_000.0, 604_800.0), hold_failures=2, hold_s=60.0),
)
INBOX = Channel(1, "chatwoot", CONFIG, AT)
PARTS = cast(
    Parts,
    SimpleNamespace(
        settings=SimpleNamespace(default_channel="chatwoot", max_body_bytes=1_048_576),
        hub=SimpleNamespace(
            readers=SimpleNamespace(state=lambda _: ReaderState(1)),
            told_twice=lambda _: (),
        ),
        store=SimpleNamespace(catalog=Catalog({"chatwoot": INBOX})),
        forwards=None,
        away=None,
    ),
)
HOST = Caller(PARTS)


def status_of(name: str, config: SubscriptionConfig) -> SubscriptionStatus:
    return SubscriptionStatus(Subscription(1, "chatwoot", name, AT, config), 3, AT, 1)


ANA = status_of("ana", SubscriptionConfig(PolicyChanges(hold_s=60.0)))
BOT = ForwardConfig("http://bot:8001/webhook", headers=(("Authorization", b"sealed"),))
SELECTION = Selection(4, 9, AT, AT, "message_created", "42", "refund", True, sequences=(5, 7))


def as_json(view: msgspec.Struct) -> Json:
    """An operation's answer, as a command reads it."""
    return cast(Json, msgspec.to_builtins(view))


CHANNEL = as_json(channels.channel_view(PARTS, INBOX))
POLICY = CHANNEL["policy"]
SUBSCRIPTION = as_json(subscriptions.whole_view(HOST, ANA))
FORWARD = as_json(
    forwards.forward_view(HOST, status_of("forward", SubscriptionConfig(forward=BOT)))
)
TOKEN = as_json(channels.token_view(Token("ana", b"", frozenset({Scope.SUBSCRIBE}), None, AT)))
REPLAY = as_json(
    progress.replay_view(
        HOST,
        Replay(-3, 1, SELECTION, 200.0, 0, 2, 1, ReplayState.RUNNING, AT, delivered=1),
        ANA.subscription,
        ReplayProgress(settled=1),
    )
)
DEAD = as_json(
    dead.dead_view(
        ANA.subscription,
        DeadDelivery(
            1,
            EventSummary(
                ID, 7, AT, "message_created", "42", "POST", "/webhook", 20, conflict=False
            ),
            "the target answered 500",
            10,
            AT,
        ),
    )
)


STATUS: Json = {
    "running": True,
    "state": "ready",
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
            "index": {"indexed_to": 2, "newest": 5, "lag_ms": 60_000},
        }
    ],
    "subscriptions": [SUBSCRIPTION],
    "drifts": [],
    "store": {"taking": True, "reason": ""},
    "settings": {"port": {"value": 8802, "source": "default"}},
}


INIT: Json = {
    "data_dir": "/data",
    "url": "https://relay.example.com",
    "in_clear": False,
    "has_public_url": True,
    "channel": "chatwoot",
    "running": False,
    "served_url": None,
    "needs_restart": False,
    "send_token": "rly_send",
    "subscribe_token": "rly_subscribe",
    "webhook_url": "https://relay:rly_send@relay.example.com/webhook",
    "webhook_url_query": "https://relay.example.com/webhook?token=rly_send",
    "client_command": "",
}


RESULTS: dict[str, tuple[Callable[[Json], None], Json]] = {
    "event": (event_commands.show_event, EVENT),
    "events": (event_commands.show_events, {"events": [EVENT], "older": None}),
    "status": (status.show_status, STATUS),
    "subscriptions": (subscription_commands.show_subscriptions, {"subscriptions": [SUBSCRIPTION]}),
    "channels": (channel_commands.show_channels, {"channels": [CHANNEL]}),
    "channel": (channel_commands.show_channel, CHANNEL),
    "tokens": (channel_commands.show_tokens, {"tokens": [TOKEN]}),
    "new token": (channel_commands.show_new_token, TOKEN | {"token": "rly_x"}),
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
    "backup": (host.show_backup, {"file": "/backups/relay.db", "body_keys": ["0f"]}),
    "init": (host.show_init, INIT),
    "subscription": (subscription_commands.show_subscription, SUBSCRIPTION),
    "paused": (subscription_commands.show_paused, SUBSCRIPTION | {"paused": "410"}),
    "forwards": (subscription_commands.show_forwards, {"forwards": [FORWARD | {"paused": "410"}]}),
    "forward": (subscription_commands.show_forward, FORWARD | {"connected": False}),
    "begun": (
        replay_commands.show_begun,
        {"running": False, "replays": [REPLAY | {"paused": "410"}]},
    ),
    "replays": (replay_commands.show_replays, {"replays": [REPLAY]}),
    "replay": (replay_commands.show_replay, REPLAY),
    "stopped": (replay_commands.show_stopped, REPLAY),
    "dead": (replay_commands.show_dead, {"dead": [DEAD]}),
    "discarded": (replay_commands.show_discarded, {"discarded": 2}),
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
