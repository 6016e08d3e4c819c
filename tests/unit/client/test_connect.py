"""The main job, from the settings to the target."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from relay_client.announcer import Announcer, can_share
from relay_client.connect import plan, run_connect
from relay_client.errors import ClientError, TakenOver, UsageError
from relay_client.notices import Connected, Lost, Notice, Slept, Warned
from relay_client.relay import Relay
from relay_client.settings import ClientSettings, Configuration
from relay_http.target import Target
from relay_http.tls import make_context
from relay_protocol.messages import CloseCode, Granted, Wanted, Welcome
from relay_terminal.console import Console
from tests.support.certificates import make_certificate
from tests.support.raw_target import RawTarget, make_delivery, raw_target
from tests.support.waiting import until
from tests.unit.client.support import (
    TOKEN,
    FakeRelay,
    configuration,
    console,
    fake_relay,
    printed,
)

Lines = Callable[[], list[dict[str, Any]]]


@asynccontextmanager
async def connecting(
    relay: FakeRelay, target: RawTarget | str, **values: Any
) -> AsyncIterator[Lines]:
    """Run the command as long as the block; gives what it printed so far."""
    to = target if isinstance(target, str) else f"127.0.0.1:{target.port}"
    settings = configuration(relay.url, to=to, output="json", **values)
    told = console()
    running = asyncio.create_task(run_connect(settings, told))
    try:
        yield lambda: [json.loads(line) for line in printed(told).splitlines()]
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_named_channels_need_no_question() -> None:
    """The relay may be away."""
    settings = configuration(
        "http://127.0.0.1:9", to="a=localhost:1,b=localhost:2/x", name="me", since="beginning"
    ).settings

    targets, wanted = await plan(settings, Relay("http://127.0.0.1:9", TOKEN), lambda notice: None)

    assert targets == {"a": Target("localhost", 1), "b": Target("localhost", 2, "/x")}
    assert wanted == (Wanted("a", "me", 0), Wanted("b", "me", 0))


async def test_a_client_that_shares_asks_for_it_and_is_told_of_an_old_relay() -> None:
    async with fake_relay() as relay, raw_target() as target:
        relay.version = "0.0.1"
        async with connecting(relay, target, share=True) as lines:
            await until(lambda: len(lines()) == 2)

    assert [wanted.share for wanted in relay.hellos[0].subscriptions] == [True]
    assert [line["type"] for line in lines()] == ["ready", "warning"]


@pytest.mark.parametrize(
    ("version", "shares"),
    [
        ("0.0.9", False),
        ("0.1.0", True),
        ("0.1", True),
        ("0.10.0", True),
        ("1.0", True),
        ("2.0.0rc1", True),
        ("0+unknown", True),
        ("", True),
    ],
)
def test_versions_that_share(version: str, shares: bool) -> None:
    assert can_share(version) is shares


@pytest.mark.parametrize("asked", ["shares", "filters", "temporary"])
def test_an_old_relay_is_warned_of_once_after_the_welcome(asked: str) -> None:
    """One that knows filters says which one holds."""
    told: list[Notice] = []
    announcer = Announcer(console())

    def render(notice: Notice) -> list[str]:
        told.append(notice)
        return []

    announcer.render = render
    setattr(announcer, asked, True)
    old = Granted(1, "chatwoot", "ana", False, 0)
    new = msgspec.structs.replace(old, filter="", temporary=False)
    notices: list[Notice] = [
        Slept(39.0),
        Connected(Welcome("0.1.0", 1, (new,))),
        Connected(Welcome("0.0.1", 1, (old,))),
        Connected(Welcome("0.0.1", 2, (old,))),
    ]

    for notice in notices:
        announcer.tell([notice])

    warning = told.pop(3)
    assert isinstance(warning, Warned)
    assert "0.0.1" in warning.text
    assert told == notices


@pytest.mark.parametrize(
    ("created", "away_s", "warns"), [(True, 60.0, True), (True, None, False), (False, 60.0, False)]
)
def test_who_comes_back_to_a_subscription_that_was_deleted_is_warned(
    *, created: bool, away_s: float | None, warns: bool
) -> None:
    """Else a temporary one loses what came while its machine slept, and nobody is told."""
    announcer, told = Announcer(console()), list[Notice]()

    def render(notice: Notice) -> list[str]:
        told.append(notice)
        return []

    announcer.render = render
    granted = Granted(1, "chatwoot", "brief", created, 0, filter="", temporary=True)

    announcer.tell([Connected(Welcome("0.1.0", 1, (granted,)), away_s)])

    warnings = [notice.text for notice in told[1:] if isinstance(notice, Warned)]
    assert any("brief was deleted meanwhile" in text for text in warnings) is warns
    assert len(told) == 1 + warns


def test_that_messages_come_twice_is_said_once() -> None:
    announcer, told = Announcer(console()), list[Notice]()

    def render(notice: Notice) -> list[str]:
        told.append(notice)
        return []

    announcer.render = render
    granted = Granted(1, "chatwoot", "ana", False, 0, told_twice=("evt_1", "evt_2"))
    for epoch in (1, 2):
        announcer.tell([Connected(Welcome("0.1.0", epoch, (granted,)))])
    [warning] = [one.text for one in told if isinstance(one, Warned)]
    assert "ana more than once, such as evt_1 and evt_2" in warning
    assert warning.endswith("relay-server subscription set chatwoot ana --once")


async def test_a_target_that_wants_no_more_is_said_with_what_to_do() -> None:
    """After its answer, and to whoever connects while it lasts."""
    async with fake_relay() as relay, raw_target() as target:
        target.answer = b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"
        async with connecting(relay, target) as lines:
            await (await relay.connected()).deliver(make_delivery())
            await until(lambda: len(lines()) == 3)
            relay.paused = "the target answered 410"
            async with connecting(relay, target) as later:
                await until(lambda: len(later()) == 2)

    assert sorted(line["type"] for line in lines()) == ["failed", "paused", "ready"]
    [paused] = [line for line in later() if line["type"] == "paused"]
    assert (paused["channel"], paused["reason"]) == ("chatwoot", "the target answered 410")


async def test_a_client_started_later_answers_from_its_journal(state_folder: Path) -> None:
    """The target sees the webhook once."""
    async with fake_relay() as relay, raw_target() as target:
        for attempt in (1, 2):
            settled = len(relay.settled)
            async with connecting(relay, target):
                await until(lambda: relay.open)
                await relay.open[-1].deliver(make_delivery(attempt=attempt))
                await until(lambda: len(relay.settled) > settled)  # noqa: B023  (waited for here)
            await until(lambda: not relay.open)

    assert len(target.requests) == 1
    assert [outcome.delivered for _, outcome in relay.settled] == [True, True]
    assert (state_folder / "journal-1.log").exists()


async def test_a_state_folder_that_cannot_be_is_a_warning(state_folder: Path) -> None:
    state_folder.write_text("a file")
    async with (
        fake_relay() as relay,
        raw_target() as target,
        connecting(relay, target) as lines,
    ):
        await (await relay.connected()).deliver(make_delivery())
        await until(lambda: relay.settled)
        await until(lambda: len(lines()) == 3)

    [warning] = [line for line in lines() if line["type"] == "warning"]
    assert "journal" in str(warning["text"])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "no target"),
        ({"to": "a=h:1,a=h:2"}, "two targets"),
        ({"to": "h:1", "channel": "a", "since": "soon"}, "--from"),
        ({"to": ",".join(f"c{n}=h:1" for n in range(65))}, "at most 64"),
    ],
)
async def test_an_impossible_plan_is_named(values: dict[str, Any], words: str) -> None:
    """Before anything is opened."""
    settings = configuration("http://127.0.0.1:9", **values).settings

    with pytest.raises(UsageError, match=words):
        await plan(settings, Relay("http://127.0.0.1:9", TOKEN), lambda notice: None)


async def test_the_tokens_channel_is_asked_for() -> None:
    """A token for all channels has the relay list them; that one of them comes alone is told."""
    told: list[Notice] = []
    async with fake_relay() as relay:
        settings = configuration(relay.url, to="localhost:8000").settings
        relay.whoami["channels"] = ["github"]
        one, _ = await plan(settings, Relay(relay.url, TOKEN), told.extend)
        relay.whoami["channels"] = None
        every, _ = await plan(settings, Relay(relay.url, TOKEN), told.extend)
        assert told == []
        relay.whoami["channels"] = ["github", "chatwoot"]
        several, _ = await plan(settings, Relay(relay.url, TOKEN), told.extend)

    assert [*one, *every, *several] == ["github", "chatwoot", "chatwoot"]
    [warning] = told
    assert isinstance(warning, Warned)
    assert "only chatwoot comes here, of 2 channels" in warning.text


async def test_a_relay_that_is_away_at_first_is_waited_for() -> None:
    """Told once."""
    notices: list[Notice] = []
    settings = configuration("http://127.0.0.1:9", to="localhost:8000").settings

    planning = asyncio.create_task(
        plan(settings, Relay("http://127.0.0.1:9", TOKEN), notices.extend)
    )
    await until(lambda: notices)
    planning.cancel()

    assert isinstance(notices[0], Lost)
    assert notices[0].before_first


async def test_a_webhook_goes_all_the_way() -> None:
    """From the relay's socket to the target's, and into the output."""
    told = console()
    async with fake_relay() as relay, raw_target() as target:
        settings = configuration(relay.url, to=f"127.0.0.1:{target.port}", output="json")
        running = asyncio.create_task(run_connect(settings, told))
        connection = await relay.connected()
        await connection.deliver(make_delivery())
        await until(lambda: printed(told).count("\n") == 2)
        await connection.socket.close(code=CloseCode.TAKEN_OVER)
        with pytest.raises(TakenOver):
            await running

    ready, delivered, ended = map(json.loads, printed(told).splitlines())
    assert ready["type"] == "ready"
    assert (delivered["type"], delivered["status"]) == ("delivered", 200)
    assert (ended["type"], ended["exit_status"]) == ("ended", 5)
    assert target.requests[0].startswith(b"POST /webhook HTTP/1.1\r\n")


async def test_each_channel_goes_to_its_own_target() -> None:
    """Nothing of one goes to the other."""
    async with fake_relay() as relay, raw_target() as bot, raw_target() as shop:
        to = f"chatwoot=127.0.0.1:{bot.port},shop=127.0.0.1:{shop.port}"
        async with connecting(relay, to):
            connection = await relay.connected()
            for number, subscription in enumerate((1, 2, 1), 1):
                await connection.deliver(
                    make_delivery(number, subscription=subscription, body=b"%d " % number)
                )
            await until(lambda: len(relay.settled) == 3)

    assert sorted(request[-2:] for request in bot.requests) == [b"1 ", b"3 "]
    assert [request[-2:] for request in shop.requests] == [b"2 "]


async def test_a_target_that_comes_back_gets_what_waited() -> None:
    """Said once when it goes and once when it comes, on a real port."""
    async with fake_relay() as relay:
        async with raw_target() as gone:
            pass
        async with connecting(relay, gone) as lines:
            connection = await relay.connected()
            await connection.deliver(make_delivery())
            await until(lambda: relay.holds)
            async with raw_target(gone.port):
                await until(lambda: relay.let_go)
                await connection.deliver(make_delivery())
                await until(lambda: len(relay.settled) == 2)

    assert [line["type"] for line in lines()] == ["ready", "waiting", "resumed", "delivered"]


@pytest.mark.parametrize("number", [errno.EPIPE, errno.EIO])
def test_a_reader_that_went_away_ends_it_quietly(number: int) -> None:
    """Like `| head` does, and whoever closes a terminal."""
    said: list[str] = []

    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            said.append(text)
            raise OSError(number, "gone")

    announcer = Announcer(Console(Closed(), io.StringIO()))
    announcer.render = lambda notice: ["line"]
    announcer.on_hang_up = lambda: said.append("hung up")

    announcer.tell([Warned("a")])
    announcer.tell([Warned("b")])

    assert said == ["line\n", "hung up"]


def test_lines_that_a_full_disk_does_not_take_are_counted_and_told() -> None:
    """It ends nothing: deliveries go on."""

    class Full(io.StringIO):
        has_room = False

        def write(self, text: str) -> int:
            if not self.has_room:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(text)

    out, err = Full(), io.StringIO()
    announcer = Announcer(Console(out, err))
    announcer.render = lambda notice: [notice.text] if isinstance(notice, Warned) else []
    announcer.tell([Warned("a"), Warned("b")])
    announcer.tell([Warned("c")])
    out.has_room = True
    announcer.tell([Warned("d")])

    assert out.getvalue() == "d\n3 lines of this output could not be written\n"
    [told] = err.getvalue().splitlines()
    assert "the output cannot be written (No space left on device)" in told


@pytest.mark.parametrize("how", ["target_ca", "insecure_target", "neither"])
async def test_a_target_by_https(tmp_path: Path, how: str) -> None:
    """With a certificate of its own it is trusted if that is said, and waited for if not."""
    certificate = make_certificate(tmp_path)
    tls = make_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate.cert, certificate.key)
    given = {"target_ca": certificate.cert, "insecure_target": True}
    settings = {name: value for name, value in given.items() if name == how}
    async with fake_relay() as relay, raw_target(tls=tls) as target:
        to = f"https://localhost:{target.port}/webhook"
        async with connecting(relay, to, **settings) as lines:
            connection = await relay.connected()
            await connection.deliver(make_delivery())
            await until(lambda: len(lines()) == 2)
            [_, line] = lines()

    if how == "neither":
        assert (line["type"], line["target"]) == ("waiting", to)
        assert "the certificate of" in line["reason"]
        assert target.requests == []
    else:
        assert (line["type"], len(target.requests)) == ("delivered", 1)


def test_a_certificate_to_trust_of_a_target_is_checked_at_once(tmp_path: Path) -> None:
    """Where there is a target that it is for."""
    broken = ClientSettings(target_ca=tmp_path / "none.pem")
    assert broken.target_tls([Target("localhost", 1)]) is None
    with pytest.raises(UsageError, match=r"--target-ca .*none.pem: No such file"):
        broken.target_tls([Target("localhost", 1, secure=True)])


async def test_settings_that_are_missing_end_it() -> None:
    """Before anything is opened."""
    empty = Configuration(ClientSettings(), {}, Path(), colour=False)

    with pytest.raises(ClientError, match="no relay"):
        await run_connect(empty, Console(io.StringIO(), io.StringIO()))
