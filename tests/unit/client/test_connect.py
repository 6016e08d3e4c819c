"""The main job, from the settings to the target."""

from __future__ import annotations

import asyncio
import errno
import io
import json
from pathlib import Path

import pytest

from relay_client.channels import choose_channel
from relay_client.connect import NAME_CHANNEL, Announcer, plan, run_connect
from relay_client.console import Console
from relay_client.errors import ClientError, TakenOver, UsageError
from relay_client.notices import Lost, Notice, Warned
from relay_client.relay import Relay
from relay_client.settings import ClientSettings, Configuration
from relay_http.target import Target
from relay_protocol.messages import CloseCode, Wanted
from tests.support.raw_target import make_delivery, raw_target
from tests.support.waiting import until
from tests.unit.client.support import TOKEN, fake_relay


def configuration(url: str, **values: object) -> Configuration:
    """Settings as flags would give them."""
    settings = ClientSettings.model_validate({"url": url, "token": TOKEN, **values})
    return Configuration(settings, {}, Path(), colour=False)


def json_lines(out: io.StringIO) -> list[dict[str, object]]:
    """What was printed so far."""
    return [json.loads(line) for line in out.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("channels", "chosen"),
    [
        (["only"], "only"),
        (["github", "chatwoot"], "chatwoot"),
    ],
)
def test_a_channel_is_chosen_where_it_is_clear(channels: list[str], chosen: str) -> None:
    """The only one, or Chatwoot's."""
    assert choose_channel(channels, NAME_CHANNEL) == chosen


@pytest.mark.parametrize("channels", [[], ["github", "stripe"]])
def test_a_channel_that_is_not_clear_is_asked_for(channels: list[str]) -> None:
    """Naming those there are."""
    with pytest.raises(UsageError) as caught:
        choose_channel(channels, NAME_CHANNEL)
    assert all(channel in str(caught.value) for channel in channels)


async def test_named_channels_need_no_question() -> None:
    """The relay may be away."""
    settings = configuration(
        "http://127.0.0.1:9", to="a=localhost:1,b=localhost:2/x", name="me", since="beginning"
    ).settings

    job = await plan(settings, Relay("http://127.0.0.1:9", TOKEN), lambda notice: None)

    assert job.targets == {"a": Target("localhost", 1), "b": Target("localhost", 2, "/x")}
    assert job.wanted == (Wanted("a", "me", 0), Wanted("b", "me", 0))


async def test_a_client_that_shares_asks_for_it_and_is_told_of_an_old_relay() -> None:
    out = io.StringIO()
    async with fake_relay() as relay, raw_target() as target:
        relay.version = "0.0.1"
        values = {"to": f"127.0.0.1:{target.port}", "output": "json", "share": True}
        settings = configuration(relay.url, **values)
        running = asyncio.create_task(run_connect(settings, Console(out, io.StringIO())))
        await until(lambda: len(json_lines(out)) == 2)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    assert [wanted.share for wanted in relay.hellos[0].subscriptions] == [True]
    assert [line["type"] for line in json_lines(out)] == ["ready", "warning"]


async def test_a_target_that_wants_no_more_is_said_with_what_to_do() -> None:
    """After its answer, and to whoever connects while it lasts."""
    out, later = io.StringIO(), io.StringIO()
    async with fake_relay() as relay, raw_target() as target:
        target.answer = b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"
        settings = configuration(relay.url, to=f"127.0.0.1:{target.port}", output="json")
        first = asyncio.create_task(run_connect(settings, Console(out, io.StringIO())))
        await (await relay.connected()).deliver(make_delivery())
        await until(lambda: len(json_lines(out)) == 3)
        relay.paused = "the target answered 410"
        second = asyncio.create_task(run_connect(settings, Console(later, io.StringIO())))
        await until(lambda: len(json_lines(later)) == 2)
        for running in (first, second):
            running.cancel()
        await asyncio.gather(first, second, return_exceptions=True)

    assert sorted(str(line["type"]) for line in json_lines(out)) == ["failed", "paused", "ready"]
    [paused] = [line for line in json_lines(later) if line["type"] == "paused"]
    assert (paused["channel"], paused["reason"]) == ("chatwoot", "the target answered 410")


async def test_a_client_started_later_answers_from_its_journal(state_folder: Path) -> None:
    """The target sees the webhook once."""
    async with fake_relay() as relay, raw_target() as target:
        settings = configuration(relay.url, to=f"127.0.0.1:{target.port}", output="json")
        for attempt in (1, 2):
            settled = len(relay.settled)
            console = Console(io.StringIO(), io.StringIO())
            running = asyncio.create_task(run_connect(settings, console))
            await until(lambda: relay.open)
            await relay.open[-1].deliver(make_delivery(attempt=attempt))
            await until(lambda: len(relay.settled) > settled)  # noqa: B023  (waited for here)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await until(lambda: not relay.open)

    assert len(target.requests) == 1
    assert [outcome.delivered for _, outcome in relay.settled] == [True, True]
    assert (state_folder / "journal-1.log").exists()


async def test_a_state_folder_that_cannot_be_is_a_warning(state_folder: Path) -> None:
    state_folder.write_text("a file")
    out = io.StringIO()
    async with fake_relay() as relay, raw_target() as target:
        settings = configuration(relay.url, to=f"127.0.0.1:{target.port}", output="json")
        running = asyncio.create_task(run_connect(settings, Console(out, io.StringIO())))
        await (await relay.connected()).deliver(make_delivery())
        await until(lambda: relay.settled)
        await until(lambda: len(json_lines(out)) == 3)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    [warning] = [line for line in json_lines(out) if line["type"] == "warning"]
    assert "journal" in str(warning["text"])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "no target"),
        ({"to": "a=h:1,a=h:2"}, "two targets"),
        ({"to": "h:1", "channel": "a", "since": "soon"}, "--since"),
        ({"to": ",".join(f"c{n}=h:1" for n in range(65))}, "at most 64"),
    ],
)
async def test_an_impossible_plan_is_named(values: dict[str, object], words: str) -> None:
    """Before anything is opened."""
    settings = configuration("http://127.0.0.1:9", **values).settings

    with pytest.raises(UsageError, match=words):
        await plan(settings, Relay("http://127.0.0.1:9", TOKEN), lambda notice: None)


async def test_the_tokens_channel_is_asked_for() -> None:
    """A token for all channels has the relay list them."""
    async with fake_relay() as relay:
        settings = configuration(relay.url, to="localhost:8000").settings
        relay.whoami["channels"] = ["github"]
        one = await plan(settings, Relay(relay.url, TOKEN), lambda notice: None)
        relay.whoami["channels"] = None
        every = await plan(settings, Relay(relay.url, TOKEN), lambda notice: None)

    assert [*one.targets, *every.targets] == ["github", "chatwoot"]


async def test_a_relay_that_is_away_at_first_is_waited_for() -> None:
    """Told once."""
    notices: list[Notice] = []
    settings = configuration("http://127.0.0.1:9", to="localhost:8000").settings

    planning = asyncio.create_task(
        plan(settings, Relay("http://127.0.0.1:9", TOKEN), notices.append)
    )
    await until(lambda: notices)
    planning.cancel()

    assert isinstance(notices[0], Lost)
    assert notices[0].before_first


async def test_a_webhook_goes_all_the_way() -> None:
    """From the relay's socket to the target's, and into the output."""
    out = io.StringIO()
    console = Console(out, io.StringIO())
    async with fake_relay() as relay, raw_target() as target:
        settings = configuration(relay.url, to=f"127.0.0.1:{target.port}", output="json")
        running = asyncio.create_task(run_connect(settings, console))
        connection = await relay.connected()
        await connection.deliver(make_delivery())
        await until(lambda: len(json_lines(out)) == 2)
        await connection.socket.close(code=CloseCode.TAKEN_OVER)
        with pytest.raises(TakenOver):
            await running

    ready, delivered, ended = json_lines(out)
    assert ready["type"] == "ready"
    assert (delivered["type"], delivered["status"]) == ("delivered", 200)
    assert (ended["type"], ended["exit_status"]) == ("ended", 5)
    assert target.requests[0].startswith(b"POST /webhook HTTP/1.1\r\n")


async def test_a_target_that_comes_back_gets_what_waited() -> None:
    """Said once when it goes and once when it comes, on a real port."""
    out = io.StringIO()
    async with fake_relay() as relay:
        async with raw_target() as target:
            port = target.port
        settings = configuration(relay.url, to=f"127.0.0.1:{port}", output="json")
        running = asyncio.create_task(run_connect(settings, Console(out, io.StringIO())))
        connection = await relay.connected()
        await connection.deliver(make_delivery())
        await until(lambda: relay.holds)
        async with raw_target(port) as target:
            await until(lambda: relay.let_go)
            await connection.deliver(make_delivery())
            await until(lambda: len(relay.settled) == 2)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    assert [line["type"] for line in json_lines(out)] == [
        "ready",
        "waiting",
        "resumed",
        "delivered",
    ]


@pytest.mark.parametrize("number", [errno.EPIPE, errno.EIO])
def test_a_reader_that_went_away_ends_it_quietly(number: int) -> None:
    """Like `| head` does, and whoever closes a terminal; a full disk is told."""
    said: list[str] = []

    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            said.append(text)
            raise OSError(number, "gone")

    announcer = Announcer(Console(Closed(), io.StringIO()))
    announcer.render = lambda notice: ["line"]
    announcer.on_hang_up = lambda: said.append("hung up")

    announcer.tell(Warned("a"))
    announcer.tell(Warned("b"))

    assert said == ["line\n", "hung up"]
    number = errno.ENOSPC
    announcer.render = lambda notice: ["line"]
    with pytest.raises(OSError, match="gone"):
        announcer.tell(Warned("c"))


async def test_settings_that_are_missing_end_it() -> None:
    """Before anything is opened."""
    empty = Configuration(ClientSettings(), {}, Path(), colour=False)

    with pytest.raises(ClientError, match="no relay"):
        await run_connect(empty, Console(io.StringIO(), io.StringIO()))
