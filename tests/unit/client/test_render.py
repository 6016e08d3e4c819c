"""What people and programs get to see."""

from __future__ import annotations

import io
import json
import re
import time

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay_client.notices import (
    Connected,
    Ended,
    Lost,
    Notice,
    Paused,
    Resumed,
    Settled,
    Slept,
    StillAway,
    Stopping,
    Waiting,
)
from relay_client.render import Render, make_render
from relay_http.target import Target
from relay_protocol.messages import Follows, Granted, Verdict, Welcome
from relay_protocol.values import Failure, FailureKind, Outcome, Response
from relay_terminal.console import Console
from relay_terminal.layout import width
from tests.fuzz.fuzz_text import check_read, check_shown
from tests.support.raw_target import make_delivery
from tests.support.tries import tries

URL = "https://relay.example.com"
TARGET = Target("localhost", 8000)
OK = Response(200, elapsed_ms=12)


def render(
    output: str,
    *,
    colour: bool = False,
    channels: tuple[str, ...] = ("chatwoot",),
    cells: int = 0,
) -> Render:
    """A renderer for one or more channels."""
    console = Console(io.StringIO(), io.StringIO(), colour=colour, cells=cells)
    return make_render(output, console, URL, dict.fromkeys(channels, TARGET))


def welcome(backlog: int = 0, *, created: bool = False, oldest: int | None = None) -> Welcome:
    """One subscription; all of its backlog came since it was read last."""
    granted = Granted(1, "chatwoot", "ana", created, backlog, oldest, came=backlog)
    return Welcome("1.0", 1, (msgspec.structs.replace(granted, came_oldest_at=oldest),))


def pretty(notice: Notice) -> str:
    """The lines for a person, without the time."""
    return re.sub(r"\d\d:\d\d:\d\d  ", "", "\n".join(render("pretty")(notice)))


def test_the_beginning_says_where_who_and_what_waits() -> None:
    """Where each channel goes, and what came meanwhile."""
    oldest = round((time.time() - 7_300) * 1_000)

    assert pretty(Connected(welcome(12, oldest=oldest))).splitlines() == [
        "Connected to https://relay.example.com as ana",
        "  chatwoot → http://localhost:8000",
        "12 webhooks came while you were away, the oldest 2 h ago",
    ]
    assert len(pretty(Connected(welcome())).splitlines()) == 2
    assert "1 webhook of chatwoot to catch up on" in pretty(Connected(welcome(1, created=True)))


def test_the_beginning_says_what_a_filter_means() -> None:
    granted = Granted(1, "chatwoot", "ana", False, 0, filter="kind:x\x1b[2J")
    said = Connected(Welcome("1.0", 1, (granted,)))

    assert pretty(said).splitlines()[1].endswith(":8000, only kind:x�[2J")
    assert json.loads(render("json")(said)[0])["channels"][0]["filter"] == granted.filter


def test_a_delivery_is_one_line() -> None:
    """Kind, conversation, status, duration."""
    line = pretty(Settled(make_delivery(), OK))

    assert line.split() == ["…evt_1", "message_created", "#42", "200", "12", "ms"]


@pytest.mark.parametrize(
    ("key", "shown"),
    [("2/318", "#318"), ("318", "#318"), ("orders/318", "orders/318"), ("2/", "2/"), ("", "")],
)
def test_a_conversation_is_shown_by_its_number(key: str, shown: str) -> None:
    """Whichever account it is of; other keys are shown as they are."""
    line = pretty(Settled(make_delivery(key=key), OK))

    assert line.split()[2:-3] == ([shown] if shown else [])


def test_columns_stand_below_each_other() -> None:
    """Whatever script a name is in."""
    one = render("pretty")
    kinds = ["message_created", "ação_criada", "会話作成", "🎉"]

    lines = [one(Settled(make_delivery(kind=kind), OK))[0] for kind in kinds]

    assert len({width(line.partition("200")[0]) for line in lines}) == 1


def test_a_second_attempt_and_a_second_channel_are_shown() -> None:
    """Where there is more than one."""
    one = render("pretty", channels=("chatwoot", "github"))

    line = one(Settled(make_delivery(channel="github", attempt=2), OK))[0]

    assert "github" in line
    assert "attempt 2" in line


AGAIN, DEAD = Verdict("1.1", Follows.AGAIN, 5_000), Verdict("1.1", Follows.DEAD)


@pytest.mark.parametrize(
    ("outcome", "verdict", "words"),
    [
        (
            Response(500),
            AGAIN,
            r"the target answered 500; the relay tries again at [^ ]*\d\d:\d\d:\d\d",
        ),
        (Response(500), DEAD, "500; dead after 1 attempt: relay-client replay --dead"),
        (Response(500), None, "500; the relay tries again, or lists it as dead"),
        (Response(410), None, "410; the relay pauses the subscription"),
        (Failure(FailureKind.TIMEOUT, "too slow"), AGAIN, "too slow; the relay tries again at"),
        (Failure(FailureKind.REFUSED, "bad path"), DEAD, "bad path; dead after 1 attempt"),
        (Failure(FailureKind.REFUSED, "bad path"), None, "bad path; not tried again"),
    ],
)
def test_a_failure_says_why_and_what_happens_next(
    outcome: Outcome, verdict: Verdict | None, words: str
) -> None:
    """As the relay said; without, no more than is known."""
    notice = Settled(make_delivery(), outcome, verdict)

    for output in ("pretty", "plain"):
        assert re.search(words, render(output)(notice)[0])
    line = json.loads(render("json")(notice)[0])
    assert re.search(words, line["text"])
    assert line["follows"] == (verdict and verdict.follows)
    assert (line["next_attempt_at"] is not None) is (verdict is AGAIN)


@pytest.mark.parametrize("target", [TARGET, Target("localhost", 8000, "/hook")])
@pytest.mark.parametrize(
    ("status", "said"),
    [
        (404, "Your app takes no POST at {path}. If it takes webhooks at another path:"),
        (405, "Your app takes no POST at {path}. If it takes webhooks at another path:"),
        (308, "Your app points from {path} to another address, and redirects are not followed."),
    ],
)
def test_an_app_that_has_no_webhook_there_is_told_of_once(
    target: Target, status: int, said: str
) -> None:
    """With the option that helps; whoever reads lines by a program finds them as they were."""
    console = Console(io.StringIO(), io.StringIO(), colour=False, cells=0)
    renders = {
        output: make_render(output, console, URL, {"chatwoot": target})
        for output in ("pretty", "plain", "json")
    }
    notice = Settled(make_delivery(request_target="/webhook?token=secret"), Response(status), AGAIN)

    lines = renders["pretty"](notice)
    assert lines[-1].strip().startswith(said.format(path=target.path or "/webhook"))
    assert lines[-1].endswith("--to localhost:8000/PATH")
    assert len(renders["pretty"](notice)) == len(lines) - 1
    assert [len(renders[output](notice)) for output in ("plain", "json")] == [1, 1]


def test_what_came_what_waits_and_what_is_tried_again_are_told_apart() -> None:
    oldest = round((time.time() - 7_300) * 1_000)
    granted = Granted(1, "chatwoot", "ana", False, 12, oldest, came=2, retrying=1)
    told = [granted, msgspec.structs.replace(granted, next_attempt_in_ms=60_000)]
    told.append(Granted(1, "chatwoot", "ana", False, 12, oldest))
    lines = [pretty(Connected(Welcome("1.0", 1, (one,)))).splitlines()[2:] for one in told]

    assert lines[0] == [
        "2 webhooks came while you were away",
        "9 webhooks wait since before, the oldest 2 h ago",
        "1 webhook is tried again now",
    ]
    assert re.fullmatch(r"1 webhook waits for its next attempt, at [-0-9: ]+", lines[1][2])
    assert lines[2] == ["12 webhooks wait, the oldest 2 h ago"], "an older relay does not say"


@pytest.mark.parametrize("cells", [48, 60, 80, 120])
@pytest.mark.parametrize("channels", [("chatwoot",), ("chatwoot", "github")])
def test_lines_fit_the_screen(cells: int, channels: tuple[str, ...]) -> None:
    """Columns give way, and nothing is broken inside a word."""
    one = render("pretty", channels=channels, cells=cells)
    url = "/webhook/github/push?installation=4711&x=1"
    slow = Response(500, elapsed_ms=29_999)
    deliveries = [
        make_delivery(kind="conversation_status_changed", key="2/1234567", attempt=12),
        make_delivery(kind="", request_target=url, replay=True),
    ]
    notices: list[Notice] = [Settled(d, slow, AGAIN) for d in deliveries]
    notices += [Settled(d, OK) for d in deliveries]
    notices += [Waiting("chatwoot", TARGET), Stopping(3), Connected(welcome(3), 60.0)]

    lines = [line for notice in notices for line in one(notice)]

    assert max(map(width, lines)) <= cells
    assert "tries again at" in " ".join(" ".join(lines).split())
    assert (
        cells < 60 or len(channels) > 1 or all("…evt_1" in one(notice)[0] for notice in notices[:4])
    )


def test_a_replay_an_edited_event_and_a_sender_without_kinds_are_marked() -> None:
    github = ((b"X-GitHub-Event", b"push"), (b"Relay-Edited-From", b"evt_7"))
    edited = make_delivery(kind="", key="", headers=github, request_target="/github?x=1")

    assert pretty(Settled(make_delivery(replay=True), OK)).endswith("12 ms  replay")
    line = pretty(Settled(edited, OK))
    assert "push POST /github?x=1" in line
    assert line.endswith("edited")


def test_a_sleep_is_told_with_what_came_meanwhile() -> None:
    one = render("pretty")
    assert one(Slept(8 * 3_600)) == []
    assert (
        "Connected again, 8 h asleep; 7 webhooks came meanwhile."
        in one(Connected(welcome(7), 0.1))[0]
    )
    assert one(Connected(welcome(), 0.1)) == []


def test_a_target_that_is_down_is_said_once() -> None:
    """Not for each webhook that waits."""
    down, lost = (Failure(kind) for kind in (FailureKind.TARGET_DOWN, FailureKind.TARGET_LOST))

    assert pretty(Settled(make_delivery(), down)) == ""
    assert pretty(Settled(make_delivery(), lost)) == ""
    assert "nothing is lost" in pretty(Waiting("chatwoot", TARGET))
    assert pretty(Resumed("chatwoot", TARGET)) == "localhost:8000 is back."
    assert render("json")(Settled(make_delivery(), down)) == []
    assert json.loads(render("json")(Settled(make_delivery(), lost))[0])["failure"] == "target_lost"


def test_a_pause_says_how_to_go_on() -> None:
    """With a command that can be pasted; programs get the facts."""
    notice = Paused("chatwoot", "ana", "the target answered 410")
    words = (
        "The target answered 410. The relay pauses ana: webhooks of chatwoot wait there. "
        "To go on: relay-client resume --channel chatwoot --as ana"
    )

    assert pretty(notice) == words
    settled = Settled(make_delivery(), Response(410), Verdict("1.1", Follows.PAUSED))
    assert "pauses" not in pretty(settled), "it was said before"
    assert "410; the relay pauses the subscription" in render("plain")(settled)[0]
    hostile = Paused("chatwoot", "ana; rm -rf ~", "the target answered 410")
    assert pretty(hostile).endswith("--as 'ana; rm -rf ~'"), "whoever named it"
    assert render("plain")(notice)[0].split(" ", 1)[1] == f"paused chatwoot {words}"
    line = json.loads(render("json")(notice)[0])
    assert line.pop("time")
    assert line == {
        "type": "paused",
        "channel": "chatwoot",
        "subscription": "ana",
        "reason": "the target answered 410",
    }


def test_a_blink_is_no_news_for_people() -> None:
    """A longer absence is two lines, and programs get both ends of every one."""
    one, program = render("pretty"), render("json")
    blink: list[Notice] = [Lost("the connection broke"), Connected(welcome(), 0.4)]
    absence: list[Notice] = [
        Lost("the connection broke"),
        StillAway("it broke"),
        Connected(welcome(3), 90.0),
    ]

    assert [line for notice in blink for line in one(notice)] == []
    told = [line for notice in absence for line in one(notice)]
    assert len(told) == 2
    assert "Connected again after 2 min; 3 webhooks came meanwhile." in told[1]
    types = [json.loads(line)["type"] for notice in absence for line in program(notice)]
    assert types == ["reconnecting", "reconnected"]


def test_the_return_from_an_absence_is_told_though_nobody_was_told_of_it() -> None:
    """It was longer than a blink: the machine slept, or nothing was heard for long."""
    one = render("pretty")

    assert one(Connected(welcome(), 1.9)) == []
    assert len(one(Connected(welcome(), 2.1))) == 1


def test_a_relay_that_was_never_there_is_said_at_once() -> None:
    """With what to do."""
    text = pretty(Lost("the relay cannot be reached", "Check the URL.", before_first=True))

    assert text == (
        "The relay cannot be reached. Trying again until https://relay.example.com answers. "
        "Check the URL."
    )


def test_programs_get_an_object_a_line() -> None:
    """First ready, then what happens, each with the same names."""
    one = render("json")

    ready = json.loads(one(Connected(welcome(12, created=True)))[0])
    delivered = json.loads(one(Settled(make_delivery(attempt=2), OK))[0])

    assert ready.pop("time").endswith("Z")
    assert ready == {
        "type": "ready",
        "url": URL,
        "name": "ana",
        "channels": [
            {
                "channel": "chatwoot",
                "subscription": "ana",
                "target": "http://localhost:8000",
                "backlog": 12,
                "oldest_waiting_at": None,
                "created": True,
                "filter": "",
                "came": 12,
                "retrying": 0,
            }
        ],
    }
    assert delivered.pop("time").endswith("Z")
    assert delivered == {
        "type": "delivered",
        "event_id": "evt_1",
        "channel": "chatwoot",
        "attempt": 2,
        "status": 200,
        "duration_ms": 12,
        "kind": "message_created",
        "key": "42",
        "replay": False,
        "method": "POST",
        "request_target": "/webhook",
    }


@pytest.mark.parametrize("text", ["ação 🎉\u2028", '"\\\x1b[2J\n', "", "%s {}"])
def test_a_delivered_line_is_what_json_makes_of_it(text: str) -> None:
    """In ASCII alone, and with the fields that a failed attempt has, in their order."""
    one = render("json")
    delivery = make_delivery(kind=text, key=text, replay=True, channel=text, request_target=text)

    [line] = one(Settled(delivery, OK))
    [failed] = one(Settled(delivery, Response(500)))

    assert line.isascii()
    assert line == json.dumps(json.loads(line))
    names = list(json.loads(line))
    assert names == list(json.loads(failed))[: len(names)]
    assert json.loads(line)["kind"] == json.loads(line)["channel"] == text


def test_plain_columns_stay() -> None:
    """One word each, in one order, a dash where there is nothing."""
    one = render("plain")

    line = one(Settled(make_delivery(kind="two words", key=""), OK))[0]

    assert line.split()[1:] == [
        "delivered",
        "chatwoot",
        "evt_1",
        "1",
        "200",
        "12",
        "two_words",
        "-",
    ]


def test_colours_are_only_where_they_are_wanted() -> None:
    """Green for what the target took."""
    notice = Settled(make_delivery(), OK)

    assert "\x1b[32m200\x1b[0m" in render("pretty", colour=True)(notice)[0]
    assert "\x1b" not in render("pretty")(notice)[0]


def test_stopping_says_what_is_finished_first() -> None:
    """And where what comes later stays."""
    assert "Finishing 3 webhooks" in pretty(Stopping(3))
    assert pretty(Stopping(0)) == ""
    assert "waits on the relay" in pretty(Ended("stopped", 0))
    assert pretty(Ended("the token was revoked", 4)) == ""


# Words of a hostile relay: whatever they are, each is a part of one line

_pieces = st.sampled_from(
    [
        "\x1b[2J\x1b[H",
        "\x1b]0;title\x07",
        "\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\",
        "\x1b]52;c;ZXZpbA==\x07",
        "\x1bP1$r\x1b\\",
        "\x9b31m",
        "\x9d0;x\x9c",
        "\r",
        "\n",
        "\x00",
        "\x08" * 9,
        "\x7f",
        "\u202e",
        "\u2066",
        "\u200b",
        "\u2028",
        "\ufeff",
        "\U000e0041",
        "e" + "\u0301" * 50,
        "漢" * 30,
        "👨‍👩‍👧",
        "[red]",
        "'; rm -rf ~ #",
        "x" * 300,
    ]
)


@given(st.one_of(st.text(), st.lists(_pieces, min_size=1, max_size=5).map("".join)))
@example("\x1b]0;evil\x07\x1b[2J\x9b31m\u202e")
@tries(300)
def test_nothing_that_a_relay_says_steers_the_terminal(text: str) -> None:
    """Names, kinds, keys, errors, versions and reasons, in every form of output."""
    check_shown(text)


@given(st.one_of(st.text(), st.lists(_pieces, max_size=3).map("".join)))
@tries(200)
def test_what_is_no_value_is_said_to_be_none(text: str) -> None:
    """URLs, targets, spans and moments."""
    check_read(text)
