"""An event's page and its list offer what can work; else they say why it cannot."""

from __future__ import annotations

import base64
import re

import pytest

from relay_server.dashboard.events import places_among
from relay_server.operations import Caller
from relay_server.operations.edited import NewEdit, create_edited
from relay_server.operations.events import EventRow
from relay_server.values import Attempt, Mark, MarkState, Progress, ReplayState
from tests.support.clock import START_MS
from tests.unit.server.asking import append
from tests.unit.server.support import Served
from tests.unit.server.test_below_a_path import get, served
from tests.unit.server.test_dashboard_setup import logged_in

__all__ = ["served"]  # a fixture
ROW = re.compile(r'data-event-id="(evt_[^"]+)" data-sequence="(\d+)"[^>]*>(.*?)</div>', re.DOTALL)
AGAIN = ('/replay"', '/edit"', '/as/curl"', "/compare?", '/body"')


async def page_of(served: Served, path: str, cookies: str = "") -> str:
    """What a logged-in administrator is shown there."""
    cookies = cookies or await logged_in(served)
    answer = await get(served, f"/dev/relay{path}", f"Cookie: {cookies}")
    assert answer.status == 200
    return answer.body.decode()


async def test_what_has_no_body_any_more_is_not_offered_to_be_sent(served: Served) -> None:
    id_ = await append(served, body=b'{"content":"Oi"}')
    await served.store.subscribe("chatwoot", "ana", None, START_MS)
    path = f"/events/{id_}"
    cookies = await logged_in(served)
    whole = await page_of(served, path, cookies)
    assert [one for one in AGAIN if one not in whole] == []

    number = served.store.catalog.channels["chatwoot"].number
    await served.store.drop_bodies(number, 2 * START_MS, 0, 9)

    left = await page_of(served, path, cookies)
    assert [one for one in AGAIN if one in left] == []
    assert "Its body was not kept once everybody had it: it cannot be sent again" in left
    assert "There is no body to be shown." in left
    assert '/pin"' in left


async def test_where_nobody_subscribes_there_is_nobody_to_send_it_to(served: Served) -> None:
    page = await page_of(served, f"/events/{await append(served)}")
    assert "there is nobody to send it to again" in page
    assert '/replay"' not in page


async def edited_of(served: Served, id_: str, body: bytes) -> str:
    """An event that somebody made of another, for ana."""
    new = NewEdit(subscription="ana", based_on=id_, body_base64=base64.b64encode(body).decode())
    return (await create_edited(Caller(served.context), new)).id


async def test_edited_events_stand_in_the_list_where_they_were_sent(served: Served) -> None:
    """With their mark; they are not chosen to be replayed, which they cannot be."""
    await served.store.subscribe("chatwoot", "ana", None, START_MS)
    first = await append(served, body=b'{"content":"Oi"}', received_at=START_MS)
    edited = await edited_of(served, first, b'{"content":"Edited"}')
    later = await append(served, received_at=served.context.clock.unix_ms() + 1_000)

    cookies = await logged_in(served)
    page = await page_of(served, "/channels/chatwoot", cookies)

    rows = ROW.findall(page)
    assert [(id_, sequence) for id_, sequence, _ in rows] == [
        (later, "2"),
        (edited, "2"),
        (first, "1"),
    ]
    assert ["mark-edited" in row for _, _, row in rows] == [False, True, False]
    assert ["checkbox" in row for _, _, row in rows] == [True, False, True]

    page = await page_of(served, f"/events/{edited}", cookies)
    assert "edited from" in page
    assert "to send it again, edit it anew" in page
    assert [one for one in ('/replay"', "of=conversation") if one in page] == []
    assert '/edit"' in page


async def test_an_edited_event_is_tried_until_its_maker_stops_that(served: Served) -> None:
    """It is brought by a replay of its own; once that has ended there is nothing to stop."""
    ana, _ = await served.store.subscribe("chatwoot", "ana", None, START_MS)
    edited = await edited_of(served, await append(served), b"{}")
    [replay] = await served.store.replays(ana.number, running=True)
    claim = await served.store.claim(replay.number)
    assert claim is not None
    waiting = Mark(1, MarkState.WAITING, 1, 1, START_MS + 60_000, START_MS, "it failed")
    tried = Attempt(1, 1, START_MS, 5, "response", 503)
    served.store.record(claim, Progress(0, (waiting,), (tried,)))
    cookies = await logged_in(served)
    stop = f'action="/dev/relay/replays/{-replay.number}/stop"'
    assert stop in await page_of(served, f"/events/{edited}", cookies)

    await served.store.end_replay(replay.number, ReplayState.STOPPED, START_MS)

    page = await page_of(served, f"/events/{edited}", cookies)
    assert (stop in page, "mark-dead" in page) == (False, True)


@pytest.mark.parametrize(
    ("listed", "places"),
    [
        ("", {}),
        ("ee", {}),
        ("e98e7", {"0": 10, "3": 8}),
        ("9ee", {"1": 9, "2": 9}),
    ],
)
def test_an_edited_event_stands_as_what_came_after_it(listed: str, places: dict[str, int]) -> None:
    rows = [
        EventRow(
            str(at), "c", 1 if one == "e" else int(one), 0, "", "", "POST", "/", 0, False, None,
            [], "", one == "e",
        )
        for at, one in enumerate(listed)
    ]  # fmt: skip
    assert places_among(rows) == places


async def test_an_answer_is_shown_with_what_it_is(served: Served) -> None:
    """Its type, its size and a tree of it, without its secrets, however hostile its headers are."""
    id_ = await append(served)
    ana, _ = await served.store.subscribe("chatwoot", "ana", 0, START_MS)
    claim = await served.store.claim(ana.number)
    assert claim is not None
    said = '{"detail": "no flavour", "api_token": "s3cret"}'
    headers = "content-type: application/json<script>\nserver: \u202eevil"
    answer = Attempt(1, 1, START_MS, 5, "response", 422, said, 47, headers)
    waiting = Mark(1, MarkState.WAITING, 1, 1, START_MS + 60_000, START_MS, "it failed")
    served.store.record(claim, Progress(0, (waiting,), (answer,)))

    cookies = await logged_in(served)
    page = await page_of(served, f"/events/{id_}", cookies)

    [attempts] = re.findall(r'<ol class="attempts">(.*?)</ol>', page, re.DOTALL)
    assert "application/json&lt;script&gt;" in attempts
    assert "47 B" in attempts
    assert '<span class="name"><bdi>detail</bdi></span>' in attempts
    assert ("s3cret" in attempts, "\u202e" in attempts) == (False, False)
    assert '/give-up"' in page

    again = Attempt(1, 2, START_MS + 9, 5, "response", 500, "Traceback: api_token=s3cret")
    served.store.record(claim, Progress(0, (waiting,), (again,)))
    for path in (f"/events/{id_}/attempts", f"/events/{id_}"):
        page = await page_of(served, path, cookies)
        assert ("Traceback" in page, "s3cret" in page) == (True, False)


async def test_whatever_a_target_answers_the_page_has_the_same_elements(served: Served) -> None:
    """However long it is, and wherever its lines end; what is JSON alone is a tree."""
    id_ = await append(served)
    ana, _ = await served.store.subscribe("chatwoot", "ana", 0, START_MS)
    claim = await served.store.claim(ana.number)
    assert claim is not None
    cookies, seen = await logged_in(served), list[list[str]]()
    for text in ("benign", "a" * 2_000, "\r\n\r\n<html><body>", "</pre></template><b>"):
        answer = Attempt(1, 1, START_MS, 5, "response", 422, text, len(text), "server: x")
        served.store.record(claim, Progress(0, (), (answer,)))
        page = await page_of(served, f"/events/{id_}", cookies)
        [attempts] = re.findall(r'<ol class="attempts">(.*?)</ol>', page, re.DOTALL)
        seen.append(re.findall(r"<[a-z/][^>]*>", re.sub(r"<time.*?</time>", "", attempts)))

    assert seen[1:] == seen[:1] * 3
