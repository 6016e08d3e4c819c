"""The bot's small parts by themselves: memory, registry, lines, settings."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from examples.chatwoot_bot import handlers
from examples.chatwoot_bot.events import Bot, Event, Registry
from examples.chatwoot_bot.memory import Memory
from examples.chatwoot_bot.settings import Settings, UsageError, read_settings
from examples.chatwoot_bot.text import one_line


class Counter:
    """Work that counts how often it was done."""

    def __init__(self) -> None:
        self.count = 0

    async def work(self) -> str:
        self.count += 1
        return "done"

    async def fail(self) -> str:
        raise LookupError


async def test_memory_is_bounded() -> None:
    """The oldest event is forgotten first."""
    memory, counter = Memory(size=2), Counter()
    for event_id in ("a", "b", "c"):
        assert await memory.once(event_id, counter.work) == "done"

    assert await memory.once("b", counter.work) is None
    assert await memory.once("c", counter.work) is None
    assert await memory.once("a", counter.work) == "done"


async def test_work_fails_for_its_repeats_too() -> None:
    """Who waits for work under way hears that it failed, and it may be done again."""
    memory, counter = Memory(), Counter()
    both = [memory.once("a", counter.fail), memory.once("a", counter.fail)]

    outcomes = await asyncio.gather(*both, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [LookupError, LookupError]
    assert await memory.once("a", counter.work) == "done"


async def test_work_goes_on_when_who_asked_gives_up() -> None:
    """A cancelled request neither stops the work nor makes it unknown."""
    memory, counter = Memory(), Counter()
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        begun.set()
        await go_on.wait()
        return await counter.work()

    asking = asyncio.create_task(memory.once("a", slow))
    await begun.wait()
    asking.cancel()
    go_on.set()

    assert await memory.once("a", slow) is None
    assert counter.count == 1


async def test_a_handler_is_found_by_each_of_its_names() -> None:
    """An event without one is None; one name has one handler."""
    registry = Registry()

    @registry.on("a", "b")
    async def handler(event: Event, bot: Bot) -> str:
        return event.name

    assert registry.find("a") is registry.find("b") is handler
    assert registry.find("c") is None
    with pytest.raises(ValueError, match="b has a handler already"):
        registry.on("b")(handler)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("João Gonçalves 👋🏽", "João Gonçalves 👋🏽"),
        ("one\r\n two\t\tthree\x85", "one two three"),
        ("x" * 30, "x" * 19 + "…"),
    ],
)
def test_one_line_is_fit_to_print(text: str, line: str) -> None:
    """Letters and emoji stay, breaks and controls go, long text is cut."""
    assert one_line(text, limit=20) == line


def settings(*arguments: str, **environment: str) -> Settings:
    return read_settings(arguments, environment)


def test_defaults() -> None:
    """Nothing set: port 8000, no signatures, printed answers, the example's reply."""
    assert settings() == Settings(
        port=8000,
        secrets=(),
        tolerance_s=300,
        chatwoot_url=None,
        chatwoot_token=None,
        reply=handlers.reply,
    )


def test_the_flag_goes_before_the_environment() -> None:
    """PORT is taken where there is no --port."""
    assert settings(PORT="9000").port == 9000
    assert settings("--port", "9001", PORT="9000").port == 9001


def test_secrets_come_from_files_too(tmp_path: Path) -> None:
    """As Docker gives them; several, one a line or with commas."""
    file = tmp_path / "secret"
    file.write_text("first\nsecond, third\n")

    given = settings(CHATWOOT_WEBHOOK_SECRET_FILE=str(file))

    assert given.secrets == ("first", "second", "third")
    assert "first" not in repr(given)


def test_answers_take_url_and_token(tmp_path: Path) -> None:
    """The token from a file as well."""
    file = tmp_path / "token"
    file.write_text("FIXTUREtoken\n")

    given = settings(CHATWOOT_URL="https://chat.example", CHATWOOT_TOKEN_FILE=str(file))

    assert (given.chatwoot_url, given.chatwoot_token) == ("https://chat.example", "FIXTUREtoken")


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"PORT": "http"}, "the port is 'http'"),
        ({"PORT": "65536"}, "up to 65535"),
        ({"CHATWOOT_URL": "https://chat.example"}, "CHATWOOT_TOKEN is not"),
        ({"CHATWOOT_TOKEN": "t"}, "CHATWOOT_URL is not"),
        ({"CHATWOOT_URL": "chat.example", "CHATWOOT_TOKEN": "t"}, "must be like https://"),
        ({"CHATWOOT_URL": "http://[", "CHATWOOT_TOKEN": "t"}, "must be like https://"),
        ({"CHATWOOT_WEBHOOK_SECRET_FILE": "/nowhere"}, "cannot read /nowhere"),
        ({"CHATWOOT_WEBHOOK_SECRET_FILE": "/dev/null"}, "/dev/null is empty"),
        (
            {"CHATWOOT_WEBHOOK_SECRET": "s", "CHATWOOT_WEBHOOK_SECRET_FILE": "/dev/null"},
            "are both set",
        ),
    ],
)
def test_impossible_settings_are_named(environment: Mapping[str, str], message: str) -> None:
    """The message says which setting, and what it takes."""
    with pytest.raises(UsageError, match=message):
        read_settings([], environment)


def test_reply_is_loaded_from_a_file(tmp_path: Path) -> None:
    """A developer's own answers, without a change to the example."""
    file = tmp_path / "mine.py"
    file.write_text("async def reply(conversation): return None\n")

    assert settings("--reply", f"{file}:reply").reply.__module__ == "reply_in_mine"


def test_reply_is_loaded_from_a_module() -> None:
    """The same by a module's name."""
    given = settings("--reply", "examples.chatwoot_bot.handlers:reply")

    assert given.reply is handlers.reply


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("", "there is no 'reply'"),
        ("def reply(conversation): return None", "must be `async def reply"),
        ("import no_such_module_anywhere", "No module named 'no_such_module_anywhere'"),
    ],
)
def test_a_reply_that_cannot_be_used_is_named(tmp_path: Path, code: str, message: str) -> None:
    """At start, not at the first customer."""
    file = tmp_path / "mine.py"
    file.write_text(code)

    with pytest.raises(UsageError, match=message):
        settings("--reply", f"{file}:reply")


@pytest.mark.parametrize("where", ["nowhere.py:reply", "no.such.module:reply", "reply", ":reply"])
def test_a_reply_from_nowhere_is_named(where: str) -> None:
    """The message repeats what was given."""
    with pytest.raises(UsageError, match=f"--reply {where}: cannot load"):
        settings("--reply", where)
