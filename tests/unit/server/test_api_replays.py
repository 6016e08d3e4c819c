"""The JSON API's replays and dead deliveries: what is selected, for whom, and who may."""

from __future__ import annotations

from typing import Any

import pytest

from relay_protocol.messages import Wanted
from relay_protocol.values import Response
from relay_server.configs import ForwardConfig, SubscriptionConfig
from relay_server.operations.progress import passed_of, percent_of
from relay_server.reported import ReplayProgress
from relay_server.store.rules import MAX_RUNNING_REPLAYS
from relay_server.store.sql import events as sqlite_events
from relay_server.store.sql import readers
from relay_server.values import (
    Attempt,
    Mark,
    MarkState,
    Progress,
    Replay,
    ReplayState,
    Scope,
    Selection,
)
from tests.support.clock import START_MS
from tests.support.events import new_event
from tests.support.waiting import settled, until
from tests.unit.server.asking import Asking, Json, append
from tests.unit.server.support import FakePeer, Served


@pytest.fixture
async def events(served: Served, ana: Asking) -> list[str]:
    """Ids of three events; `ana`, `bob` and a forward have subscribed, none has had them."""
    forward = SubscriptionConfig(forward=ForwardConfig("http://bot/"))
    await served.store.subscribe("chatwoot", "ana", None, START_MS)
    await served.store.subscribe("chatwoot", "bob", None, START_MS)
    await served.store.subscribe("chatwoot", "forward", None, START_MS, forward)
    await served.store.subscribe("other", "carla", None, START_MS)
    return [await append(served, key=str(n), received_at=START_MS + n) for n in (1, 2, 3)]


async def die(served: Served, name: str, *sequences: int, channel: str = "chatwoot") -> None:
    """Deliveries are given up after two tries."""
    found = {s.name: s for s in await served.store.subscriptions(channel)}
    claim = await served.store.claim(found[name].number)
    assert claim is not None
    marks = [
        Mark(s, MarkState.DEAD, 2, reason="the target answered 500", changed_at=START_MS + s)
        for s in sequences
    ]
    tries = [Attempt(s, n, START_MS, 5, "response", 500, "no") for s in sequences for n in (1, 2)]
    served.store.record(claim, Progress(claim.progress.floor, tuple(marks), tuple(tries)))


def asked(chosen: Json, **more: Any) -> Json:
    return {"selection": chosen} | more


async def replayed(admin: Asking, chosen: Json, **more: Any) -> list[Json]:
    found = (await admin.ok("POST", "replays", asked(chosen, **more)))["replays"]
    assert isinstance(found, list)
    return found


async def test_a_replay_says_what_it_is(served: Served, admin: Asking, events: list[str]) -> None:
    named = [events[2], f"…{events[0][-8:]}"]
    [made] = await replayed(admin, {"events": named}, subscription="ana")
    assert made["number"] > 0
    assert (made["channel"], made["subscription"]) == ("chatwoot", "ana")
    assert (made["state"], made["percent"], made["delivered"]) == ("running", 0, 0)
    assert (made["selection"], made["at_most"]) == ({"events": 2}, 2)
    assert (made["rate_per_s"], made["made_by"]) == (200, "root")
    assert (made["connected"], made["paused"]) == (False, "")
    [stored] = await served.store.replays()
    assert stored.selection == Selection(sequences=(1, 3))
    assert await admin.ok("GET", f"replays/{made['number']}") == made


@pytest.mark.parametrize(
    ("selection", "passed", "percent"),
    [
        (Selection(), 7, 70.0),
        (Selection(first=3), 7, 70.0),
        (Selection(kind="message_created"), 8, 80.0),
        (Selection(sequences=(1, 2, 3, 8)), 7, 99.9),
    ],
    ids=["everything", "a range", "conditions", "named"],
)
def test_what_is_settled_counts_and_not_the_floor(
    selection: Selection, passed: int, percent: float
) -> None:
    """One that is tried again holds the floor at 2; of those behind it five are settled."""
    replay = Replay(-1, 1, selection, 200.0, 0, 10, 2, ReplayState.RUNNING, START_MS)
    known = ReplayProgress(settled=5, begun=1, furthest=9, tried=8)

    assert passed_of(replay, known) == passed
    assert percent_of(replay, passed, len(selection.sequences) or 10) == percent


async def test_one_that_is_tried_again_does_not_hide_what_is_delivered(
    served: Served, admin: Asking, events: list[str]
) -> None:
    [made] = await replayed(admin, {"all": True}, subscription="ana")
    [replay] = await served.store.replays()
    claim = await served.store.claim(replay.number)
    assert claim is not None
    due = served.clock.unix_ms() + 60_000
    again = Mark(1, MarkState.WAITING, 1, 1, due, START_MS, "it answered 500", START_MS)
    now = served.clock.unix_ms()
    tries = [Attempt(n, 1, now, 0, "response", 500 if n == 1 else 200) for n in (1, 2, 3)]
    marks = (again, Mark(2, MarkState.DELIVERED, 1), Mark(3, MarkState.DELIVERED, 1))
    served.store.record(claim, Progress(0, marks, tuple(tries)))

    shown = await admin.ok("GET", f"replays/{made['number']}")

    assert (shown["percent"], shown["delivered"], shown["dead"]) == (66.7, 2, 0)
    assert (shown["retrying"], shown["next_attempt_at"]) == (1, due)
    assert shown["left_s"] is None, "nobody reads"
    [listed] = (await admin.ok("GET", "replays?channel=chatwoot"))["replays"]
    assert listed == shown


async def test_every_condition_reaches_the_store(
    served: Served, admin: Asking, events: list[str]
) -> None:
    chosen: dict[str, Any] = {
        "first": 1,
        "last": 3,
        "received_from": START_MS,
        "received_before": START_MS + 3,
        "kind": "message_created",
        "key": "2",
        "text": "hello",
    }
    [made] = await replayed(admin, chosen, subscription="ana", rate_per_s=0.5)
    [stored] = await served.store.replays()
    assert stored.selection == Selection(**chosen)
    assert (stored.rate_per_s, made["selection"]) == (0.5, chosen)


async def test_without_a_name_it_is_for_all_of_the_channel(
    admin: Asking, ana: Asking, events: list[str]
) -> None:
    everyone = await replayed(admin, {"all": True})
    assert [one["subscription"] for one in everyone] == ["ana", "bob", "forward"]
    mine = await replayed(ana, {"events": events[:1]})
    assert [one["subscription"] for one in mine] == ["ana", "bob"], "a forward takes an admin"


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"events": []},
        {"all": False},
        {"all": True, "kind": "x"},
        {"first": 0},
        {"last": 2**40},
        {"first": 5, "last": 4},
        {"received_from": -1},
        {"received_from": 9, "received_before": 8},
        {"received_before": 253_402_300_800_000},
        {"kind": "x" * 129},
        {"key": "x" * 257},
        {"text": "x" * 1_001},
        {"q": " "},
        {"q": None},
        {"all": True, "q": "bolo"},
        {"first": "1"},
        {"sequences": [1]},
        {"events": ["evt_1"] * 1_001},
    ],
)
async def test_selections_that_are_impossible(
    served: Served, admin: Asking, events: list[str], chosen: Json
) -> None:
    assert await admin.refused("POST", "replays", asked(chosen)) == (422, "invalid_value")
    assert await served.store.replays() == []


async def test_a_filter_selects_and_its_times_are_moments(
    served: Served, admin: Asking, events: list[str]
) -> None:
    made = await replayed(admin, {"q": "conv:2 -is:private after:2h"}, subscription="ana")
    [stored] = await served.store.replays()
    assert stored.selection.q == made[0]["selection"]["q"]
    assert "after:2h" not in stored.selection.q
    plan = await planned(admin, {"q": "id:" + events[1]}, subscription="ana")
    assert ([e["id"] for e in plan["sample"]], plan["at_most"]) == ([events[1]], 1)


@pytest.mark.parametrize("q", ["is:faild", "is:dead", "status:500", '"', "x" * 10_001])
async def test_filters_that_no_replay_has(
    served: Served, admin: Asking, events: list[str], q: str
) -> None:
    assert await admin.refused("POST", "replays", asked({"q": q})) == (422, "invalid_filter")
    assert await served.store.replays() == []


async def planned(who: Asking, chosen: Json, **more: Any) -> Json:
    answer = await who("POST", "replays", asked(chosen, dry_run=True, **more))
    assert answer.status == 200
    return dict(answer.json)


async def test_a_dry_run_says_what_it_would_be_and_begins_nothing(
    served: Served, admin: Asking, ana: Asking, events: list[str]
) -> None:
    for n in range(4, 9):
        await append(served, key="1", received_at=START_MS + n)
    plan = await planned(admin, {"key": "1"})

    assert (plan["channel"], plan["at_most"], plan["complete"]) == ("chatwoot", 18, True)
    assert plan["by_subscription"] == [
        {"subscription": name, "at_most": 6} for name in ("ana", "bob", "forward")
    ]
    assert [event["sequence"] for event in plan["sample"]] == [7, 6, 5, 4, 1]
    listed = (await admin.ok("GET", "events"))["events"]
    assert plan["sample"][-1] == listed[-1]
    assert await served.store.replays() == []
    assert (await admin.ok("GET", "audit"))["entries"] == []
    mine = await planned(ana, {"all": True})
    assert [one["subscription"] for one in mine["by_subscription"]] == ["ana", "bob"]


async def test_a_dry_run_of_what_is_dead_is_of_each_its_own(
    served: Served, admin: Asking, events: list[str]
) -> None:
    await die(served, "ana", 1, 3)
    await die(served, "bob", 2)
    plan = await planned(admin, {"dead": True})
    assert [(p["subscription"], p["at_most"]) for p in plan["by_subscription"]] == [
        ("ana", 2),
        ("bob", 1),
    ]
    assert [event["sequence"] for event in plan["sample"]] == [3, 2, 1]


async def test_a_dry_run_looks_at_no_more_than_it_may(
    served: Served, admin: Asking, events: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it did not look at counts as selected."""
    monkeypatch.setattr(readers, "PREVIEW_S", -1)
    monkeypatch.setattr(sqlite_events, "LOOK_AT", 2)
    plan = await planned(admin, {"key": "2"}, subscription="ana")
    assert (plan["at_most"], plan["complete"]) == (2, False)
    assert [event["sequence"] for event in plan["sample"]] == [2]


async def test_a_dry_run_refuses_what_a_replay_does(
    served: Served, admin: Asking, ana: Asking, events: list[str]
) -> None:
    cases: list[tuple[Json, tuple[int, str]]] = [
        ({}, (422, "invalid_value")),
        ({"events": ["evt_unknown"]}, (404, "event_not_found")),
        ({"dead": True}, (409, "nothing_selected")),
    ]
    for chosen, answer in cases:
        assert await admin.refused("POST", "replays", asked(chosen, dry_run=True)) == answer
    forward = asked({"all": True}, dry_run=True, subscription="forward")
    assert await ana.refused("POST", "replays", forward) == (403, "forbidden")


@pytest.mark.parametrize("rate", [0, 0.09, 1_001, -1, "fast", None])
async def test_rates_that_are_impossible(
    served: Served, admin: Asking, events: list[str], rate: object
) -> None:
    body = asked({"all": True}, rate_per_s=rate)
    assert await admin.refused("POST", "replays", body) == (422, "invalid_value")
    assert await served.store.replays() == []


async def test_an_event_that_is_not_there_starts_nothing(
    served: Served, admin: Asking, ana: Asking, events: list[str]
) -> None:
    elsewhere = (await served.store.append(_number(served, "other"), new_event())).id
    missing = (404, "event_not_found")
    for ids in (["evt_unknown"], [events[0], "evt_unknown"], ["%00"], [""]):
        assert await admin.refused("POST", "replays", asked({"events": ids})) == missing
    assert await ana.refused("POST", "replays", asked({"events": [elsewhere]})) == missing
    mixed = asked({"events": [events[0], elsewhere]})
    assert await admin.refused("POST", "replays", mixed) == (422, "invalid_value")
    assert await served.store.replays() == []
    [made] = await replayed(admin, {"events": [elsewhere]})
    assert (made["channel"], made["subscription"]) == ("other", "carla")


async def test_for_whom_there_is_nobody(
    served: Served, admin: Asking, ana: Asking, events: list[str]
) -> None:
    body = asked({"all": True}, subscription="zoe")
    assert await admin.refused("POST", "replays", body) == (404, "subscription_not_found")
    body = asked({"all": True}, channel="unknown")
    assert await admin.refused("POST", "replays", body) == (404, "channel_not_found")
    body = asked({"all": True}, channel="other")
    assert await ana.refused("POST", "replays", body) == (404, "channel_not_found")
    body = asked({"all": True}, subscription="forward")
    assert await ana.refused("POST", "replays", body) == (403, "forbidden")
    await served.make_channel("empty")
    body = asked({"all": True}, channel="empty")
    assert await admin.refused("POST", "replays", body) == (409, "nothing_selected")
    assert await served.store.replays() == []


async def test_one_too_many_starts_none(served: Served, admin: Asking, events: list[str]) -> None:
    for _ in range(MAX_RUNNING_REPLAYS):
        await replayed(admin, {"all": True}, subscription="bob")
    assert await admin.refused("POST", "replays", asked({"all": True})) == (409, "too_many_replays")
    running = [r.subscription for r in await served.store.replays(running=True)]
    assert len(set(running)) == 1, "none is left for those who come before bob"


async def test_replays_are_listed_newest_first_for_those_who_may_read(
    served: Served, admin: Asking, ana: Asking, events: list[str]
) -> None:
    await served.store.append(_number(served, "other"), new_event())
    [first] = await replayed(admin, {"all": True}, subscription="ana")
    [second] = await replayed(admin, {"all": True}, channel="other")
    [third] = await replayed(ana, {"all": True}, subscription="ana")
    await admin.ok("DELETE", f"replays/{first['number']}")

    async def listed(who: Asking, query: str = "") -> list[int]:
        return [one["number"] for one in (await who.ok("GET", f"replays{query}"))["replays"]]

    numbers = [one["number"] for one in (third, second, first)]
    assert await listed(admin) == numbers
    assert await listed(admin, "?channel=other") == numbers[1:2]
    assert await listed(admin, "?running=1") == numbers[:2]
    assert await listed(ana) == [numbers[0], numbers[2]]
    assert await ana.refused("GET", "replays?channel=other") == (404, "channel_not_found")
    assert await ana.refused("GET", "replays?running=maybe") == (422, "invalid_value")
    hidden = f"replays/{second['number']}"
    for method in ("GET", "DELETE"):
        assert await ana.refused(method, hidden) == (404, "replay_not_found")
    answers = [await ana("GET", f"replays/00{number}") for number in (second["number"], 99_999)]
    said = [answer.json["error"]["message"].rpartition(" ")[2] for answer in answers]
    assert said == [str(second["number"]), "99999"]  # nor does the text tell which there are
    assert await admin.refused("GET", "replays/99999") == (404, "replay_not_found")
    for number in ("-1", "x", "9" * 5_000):
        assert (await admin.refused("GET", f"replays/{number}"))[0] in (404, 414, 422, 400)


async def test_an_old_replay_is_found_though_it_is_listed_no_more(
    served: Served, admin: Asking, ana: Asking, events: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "MAX_LISTED_REPLAYS", 1)
    [old] = await replayed(admin, {"all": True}, subscription="ana")
    path = f"replays/{old['number']}"
    ended = await admin.ok("DELETE", path)
    await replayed(admin, {"all": True}, subscription="ana")
    assert len((await admin.ok("GET", "replays"))["replays"]) == 1

    assert await ana.ok("GET", path) == ended
    assert await admin.ok("DELETE", path) == ended
    assert await ana.refused("DELETE", path) == (403, "forbidden")


async def test_a_reader_stops_its_own_alone(
    served: Served, admin: Asking, ana: Asking, events: list[str]
) -> None:
    [theirs] = await replayed(admin, {"all": True}, subscription="ana")
    [mine] = await replayed(ana, {"all": True}, subscription="ana")
    assert mine["made_by"] == "ana"
    assert await ana.refused("DELETE", f"replays/{theirs['number']}") == (403, "forbidden")
    stopped = await ana.ok("DELETE", f"replays/{mine['number']}")
    assert stopped["state"] == "stopped"
    assert stopped["ended_at"] is not None
    assert await admin.ok("DELETE", f"replays/{mine['number']}") == stopped, "it stays as it is"


async def test_whoever_is_connected_gets_it_at_once_and_no_more_once_it_stops(
    served: Served, admin: Asking, events: list[str]
) -> None:
    peer, hub = FakePeer(window=4), served.context.hub
    hub.add(peer)
    _, reader = await hub.join(peer, Wanted("chatwoot"), "ana")
    hub.start(reader, peer)
    await until(lambda: len(peer.got) == 3)
    for delivery in list(peer.got):
        reader.finish(peer, delivery.id, Response(200, elapsed_ms=1))

    [made] = await replayed(admin, {"all": True}, subscription="ana")
    assert made["connected"] is True
    await until(lambda: len(peer.got) == 4)
    again = peer.got[3]
    assert (again.event.id, again.replay, again.attempt) == (events[0], True, 1)

    await admin.ok("DELETE", f"replays/{made['number']}")
    peer.window = 100
    reader.wake()
    await settled()
    assert reader.under_way == 1, "what the target has it may end"
    reader.finish(peer, again.id, Response(200, elapsed_ms=1))
    await until(lambda: reader.under_way == 0)
    fourth = await append(served)
    await until(lambda: len(peer.got) >= 5)
    assert [d.event.id for d in peer.got[4:]] == [fourth]
    hub.remove(peer)


async def test_the_dead_are_replayed_to_those_for_whom_they_are_dead(
    served: Served, admin: Asking, events: list[str]
) -> None:
    await die(served, "ana", 1, 2)
    await die(served, "forward", 2)

    everyone = await replayed(admin, {"dead": True})
    assert [one["subscription"] for one in everyone] == ["ana", "forward"]
    [made] = await replayed(admin, {"dead": True, "events": events[:1]})
    assert (made["subscription"], made["selection"]) == ("ana", {"events": 1, "dead": True})
    for body in (
        asked({"dead": True}, subscription="bob"),
        asked({"dead": True, "events": events[2:]}),
        asked({"dead": True}, channel="other"),
    ):
        assert await admin.refused("POST", "replays", body) == (409, "nothing_selected")


async def test_the_dead_are_listed(
    served: Served, admin: Asking, ana: Asking, events: list[str]
) -> None:
    await served.store.append(_number(served, "other"), new_event())
    await die(served, "ana", 1, 2, 3)
    await die(served, "bob", 2)
    await die(served, "carla", 1, channel="other")

    async def listed(who: Asking, query: str = "") -> list[tuple[str, int]]:
        found = (await who.ok("GET", f"dead{query}"))["dead"]
        return [(one["subscription"], one["sequence"]) for one in found]

    mine = [("ana", 1), ("ana", 2), ("ana", 3), ("bob", 2)]
    assert await listed(ana) == mine
    assert await listed(admin) == [*mine, ("carla", 1)]
    assert await listed(admin, "?channel=other") == [("carla", 1)]
    assert await listed(admin, "?subscription=bob") == [("bob", 2)]
    assert await listed(admin, "?limit=2") == mine[:2]
    assert await listed(admin, "?channel=chatwoot&subscription=ana&after=1&limit=1") == mine[1:2]
    first = (await admin.ok("GET", "dead?limit=1"))["dead"][0]
    assert (first["id"], first["attempts"]) == (events[0], 2)
    assert (first["reason"], first["ended_at"]) == ("the target answered 500", START_MS + 1)

    assert await admin.refused("GET", "dead?after=1") == (422, "invalid_value")
    assert await ana.refused("GET", "dead?channel=other") == (404, "channel_not_found")
    missing = "dead?channel=chatwoot&subscription=zoe"
    assert await admin.refused("GET", missing) == (404, "subscription_not_found")


async def test_the_dead_are_let_go_of(
    served: Served, admin: Asking, ana: Asking, events: list[str]
) -> None:
    await die(served, "ana", 1, 2, 3)
    await die(served, "bob", 1, 2)

    async def discard(**fields: object) -> int:
        return int((await admin.ok("POST", "dead/discard", fields))["discarded"])

    async def dead() -> list[tuple[str, int]]:
        found = (await admin.ok("GET", "dead"))["dead"]
        return [(one["subscription"], one["sequence"]) for one in found]

    assert await discard(events=events[:1]) == 2
    assert await dead() == [("ana", 2), ("ana", 3), ("bob", 2)]
    assert await discard(events=events[1:2], subscription="ana") == 1
    assert await discard(all=True, channel="chatwoot") == 2
    assert await dead() == []
    for fields in ({"all": True}, {"events": events[:1]}):
        refused = await admin.refused("POST", "dead/discard", fields)
        assert refused == (409, "nothing_selected")
    for wrong in ({}, {"all": True, "events": events}, {"all": "yes"}):
        refused = await admin.refused("POST", "dead/discard", wrong)
        assert refused == (422, "invalid_value")
    refused = await admin.refused("POST", "dead/discard", {"events": ["evt_x"]})
    assert refused == (404, "event_not_found")


async def test_more_dead_than_one_page_are_let_go_of(
    served: Served, admin: Asking, events: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay_server.operations.dead.PAGE", 2)
    await die(served, "ana", 1, 2, 3)
    assert (await admin.ok("POST", "dead/discard", {"all": True}))["discarded"] == 3


async def test_what_is_dead_for_one_reason_is_listed_replayed_and_let_go_of(
    served: Served, admin: Asking, events: list[str]
) -> None:
    await die(served, "ana", 1, 2, 3)
    [why] = {one["reason"] for one in (await admin.ok("GET", "dead"))["dead"]}
    assert (await admin.ok("GET", "dead?reason=other"))["dead"] == []
    both = {"selection": {"dead": True, "reason": why}, "subscription": "ana", "dry_run": True}
    assert (await admin.ok("POST", "replays", both))["at_most"] == 3
    alone = {"selection": {"all": False, "reason": why}}
    assert await admin.refused("POST", "replays", alone) == (422, "invalid_value")
    for wrong in ({"events": events, "reason": why}, {"all": True, "reason": "other"}):
        assert (await admin.refused("POST", "dead/discard", wrong))[0] in (409, 422)
    which = {"all": True, "reason": why}
    assert (await admin.ok("POST", "dead/discard", which))["discarded"] == 3


async def test_a_sender_has_no_part_in_it(served: Served, events: list[str]) -> None:
    sender = Asking(served, await served.make_token("only-sends", Scope.SEND))
    body = asked({"events": events[:1]})
    assert await sender.refused("POST", "replays", body) == (404, "event_not_found")
    assert (await sender.refused("POST", "replays", asked({"all": True})))[0] == 404
    assert (await sender.ok("GET", "replays"))["replays"] == []
    assert (await sender.ok("GET", "dead"))["dead"] == []
    assert (await sender.ok("GET", "channels"))["channels"] == []
    assert (await sender.ok("GET", "status"))["channels"] == []
    ana = "channels/chatwoot/subscriptions/ana"
    for method, path in (("GET", "events"), ("GET", ana), ("POST", f"{ana}/resume")):
        assert await sender.refused(method, path) == (404, "channel_not_found")


def _number(served: Served, channel: str) -> int:
    return served.store.catalog.channels[channel].number
