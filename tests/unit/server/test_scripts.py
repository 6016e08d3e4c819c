"""Scripts that send an event: real shells, a real curl, and whatever a sender may have written."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from relay_protocol.values import HeaderList
from relay_server.bodies.scripts import (
    Language,
    Sent,
    script,
    script_of_many,
    without_secrets,
)
from relay_server.bodies.tree import MASK
from relay_server.errors import InvalidValue
from tests.support.nasty import NASTY, sent
from tests.support.needs import need_program
from tests.support.raw_target import raw_target

SHELLS = ("bash", "dash", "zsh")
EVERY = pytest.mark.parametrize("event", NASTY.values(), ids=NASTY)


def said(headers: HeaderList) -> list[tuple[bytes, bytes]]:
    """What does not depend on who sends it."""
    own = (b"host", b"content-length", b"connection")
    return [(name, value) for name, value in headers if name.lower() not in own]


def assert_same(raw: bytes, event: Sent) -> None:
    """What came is what the script is of."""
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    request = event.request
    assert body == event.body
    assert first == f"{request.method} {request.request_target} HTTP/1.1".encode()
    headers = tuple((n, v.strip()) for n, _, v in (line.partition(b":") for line in lines))
    assert said(headers) == said(request.headers)


async def run(folder: Path, *command: str, **environment: str) -> str:
    """Run a command in an empty folder, which it must leave empty; what it printed."""
    place = folder / "place"
    place.mkdir()
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=place,
        env={**os.environ, "TMPDIR": str(place), **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        output, errors = await process.communicate()
    assert (process.returncode, errors) == (0, b""), errors
    assert list(place.iterdir()) == []
    return output.decode()


def written(folder: Path, text: str) -> str:
    """A script in a file, of which a terminal shows all as it is."""
    assert text.replace("\n", "").isprintable()
    file = folder / "script"
    file.write_text(text)
    return str(file)


@EVERY
@pytest.mark.parametrize("shell", SHELLS)
async def test_curl_sends_the_same_and_the_shell_runs_nothing_else(
    tmp_path: Path, event: Sent, shell: str
) -> None:
    file = written(tmp_path, script(event, Language.CURL))
    shell = need_program(shell, shell)
    async with raw_target() as target:
        await run(tmp_path, shell, file, TARGET=f"http://127.0.0.1:{target.port}")
    [came] = target.requests
    assert_same(came, event)


@pytest.mark.slow
async def test_tests_send_the_same(tmp_path: Path) -> None:
    for number, event in enumerate(NASTY.values()):
        (tmp_path / f"test_{number:02}.py").write_text(script(event, Language.PYTEST))
    await assert_tests_send(tmp_path, list(NASTY.values()))


@pytest.mark.slow
async def test_one_test_sends_a_conversation_in_its_order(tmp_path: Path) -> None:
    key, events = '2/"""\nimport os', list(NASTY.values())
    (tmp_path / "test_all.py").write_text(script_of_many(key, events, complete=True))
    await assert_tests_send(tmp_path, events)


async def assert_tests_send(folder: Path, events: list[Sent]) -> None:
    """The tests in a folder pass, and a target gets these events from them, in this order."""
    # Without a cache, and settings of a folder above: nothing is left behind.
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "-p", "no:randomly"]
    options += ["-c", os.devnull, "--rootdir", str(folder)]
    async with raw_target() as target:
        environment = {"TARGET": f"http://127.0.0.1:{target.port}"}
        pytest_ = (sys.executable, "-B", "-m", "pytest", *options, str(folder))
        output = await run(folder, *pytest_, **environment)
    assert f"{len(events)} passed" in output
    for came, event in zip(target.requests, events, strict=True):
        assert_same(came, event)


@EVERY
def test_json_says_the_same_and_steers_no_terminal(event: Sent) -> None:
    text = script(event, Language.JSON)
    assert text.replace("\n", "").isprintable()
    found = json.loads(text)
    request = event.request
    assert (found["id"], found["method"]) == (event.id, request.method)
    assert found["request_target"] == request.request_target
    pairs = [(name.encode(), value.encode()) for name, value in found["headers"]]
    assert pairs == [*request.headers]
    if "body" in found:
        assert found["body"] == json.loads(event.body)
    elif "body_text" in found:
        assert found["body_text"].encode() == event.body
    else:
        assert base64.b64decode(found["body_base64"]) == event.body


def test_json_keeps_each_digit_of_a_body_and_masks_its_secrets() -> None:
    body = '{ "id": 9007199254740993.10,\t"id": 1, "says": "a\u202eb\x7f", "api_key": "s3cret"}'
    clean = without_secrets(sent(body.encode()))
    text = script(clean, Language.JSON)
    masked = f'"api_key": "{MASK}"'
    assert f'{{ "id": 9007199254740993.10, "id": 1, "says": "a\\u202eb\\u007f", {masked}}}' in text
    assert "s3cret" not in text


# Notes what it was given, in place of HTTPie: its words, the file that each names, and stdin.
HTTP = """\
#!/bin/sh
printf '%s\\0' "$@" > {noted}/words
exec 3<&0
for word; do
    number=$((number + 1)) file="${{word#*:@}}"
    [ "$word" = --ignore-stdin ] && exec 3</dev/null
    [ "$file" != "$word" ] && [ -f "$file" ] && cat "$file" > {noted}/$number
done
cat <&3 > {noted}/stdin
"""


class Asked(NamedTuple):
    """What HTTPie would send."""

    method: str
    url: str
    headers: list[tuple[bytes, bytes]]
    body: bytes


def noted(folder: Path) -> tuple[list[str], dict[str, str], str]:
    """What the stub was given; bytes as Latin-1."""
    written = {file.name: file.read_bytes().decode("latin-1") for file in folder.iterdir()}
    words = written["words"].split("\0")[:-1]
    files = {word: written.get(str(number)) for number, word in enumerate(words, 1)}
    return words, {word: text for word, text in files.items() if text is not None}, written["stdin"]


def read_words(words: list[str], files: dict[str, str], stdin: str) -> Asked:
    """As HTTPie reads its words."""
    options, _, rest = "\n".join(words).rpartition("\n--\n")
    raw, mark, _ = options.partition("--raw\n")
    body = options[len(raw) + len("--raw\n") :] if mark else stdin
    method, url, *items = words[-len(rest.split("\n")) :]
    headers = []
    for item in items:
        if item in files:
            name, value = item.split(":@")[0], files[item]
        else:
            name, value = read_item(item)
        if value or item.endswith(";"):
            headers.append((name.encode("latin-1"), value.encode("latin-1")))
    return Asked(method, url, headers, body.encode("latin-1"))


def read_item(item: str) -> tuple[str, str]:
    """Name and value of a header: a backslash before what could end a name is taken away."""
    characters, plain = iter(item), list[tuple[str, bool]]()
    for character in characters:
        if character != "\\":
            plain.append((character, True))
            continue
        after = next(characters, "")
        plain += [(after, False)] if after and after in ":;=@" else [("\\" + after, True)]
    at = next(n for n, (c, counts) in enumerate(plain) if counts and c in ":;=@")
    name, value = ("".join(c for c, _ in part) for part in (plain[:at], plain[at + 1 :]))
    assert plain[at][0] in ":;"
    assert not (plain[at + 1 :] and plain[at + 1][1] and plain[at + 1][0] in "=@"), item
    return name, value


@EVERY
@pytest.mark.parametrize("shell", SHELLS)
async def test_httpie_is_told_the_same(tmp_path: Path, event: Sent, shell: str) -> None:
    stub = tmp_path / "bin" / "http"
    stub.parent.mkdir()
    stub.write_text(HTTP.format(noted=stub.parent))
    stub.chmod(0o755)
    file = written(tmp_path, script(event, Language.HTTPIE))

    path = f"{stub.parent}:{os.environ['PATH']}"
    shell = need_program(shell, shell)
    await run(tmp_path, shell, file, TARGET="http://bot", PATH=path)

    asked = read_words(*noted(stub.parent))
    assert (asked.method, asked.body) == (event.request.method, event.body)
    assert asked.url == f"http://bot{event.request.request_target}"
    assert asked.headers == said(event.request.headers)


async def test_a_header_that_is_no_text(tmp_path: Path) -> None:
    event = sent(headers=((b"X-Latin", b"\xe9"),))
    file = written(tmp_path, script(event, Language.CURL))
    async with raw_target() as target:
        await run(tmp_path, "sh", file, TARGET=f"http://127.0.0.1:{target.port}")
    assert_same(target.requests[0], event)
    with pytest.raises(InvalidValue, match="X-Latin"):
        script(event, Language.HTTPIE)


SECRETS = [
    b'{"pubsub_token": "s3cret", "a": {"hmac_token" : "s3\\"cret"}, "token_count": 3}',
    b'{"Authorization":"s3cret","access_token":"s3cret"}',
    b'{"token": 53cret, "a": [{"password" : ["s3cret", {"b": 5}]}]}'.replace(b"53cret", b"5e3"),
    b'{"password": ["s3cret", {"b": "s3cret"}], "c": "\\"token\\": 1", "\\u0074oken": "s3cret"}',
    b"name=ana&user%5Btoken%5D=s3cret&x=1",
    b'{"password": "s3cret of two words", "api_key": ["s3cret", "s3cret"], "cut": ',
]


@pytest.mark.parametrize("body", SECRETS)
@pytest.mark.parametrize("language", Language)
def test_secrets_are_masked(body: bytes, language: Language) -> None:
    headers = ((b"Authorization", b"Bearer s3cret"), (b"cookie", b"s3cret"))
    event = sent(body, headers=headers, target="/webhook?api_key=s3cret&page=2&x_token=s3cret")
    clean = without_secrets(event)

    text = script(clean, language)

    assert MASK in clean.body.decode()
    assert "cret" not in text.replace("Secrets are", "").replace("secrets are", "")
    assert "page=2" in text
    assert clean.masked


def test_a_masked_body_is_else_as_it_was() -> None:
    event = sent(b'{"b" : 1.50, "token":[1, "]"], "c": "\\"token\\": 1", "x_token": null, "b":2}')
    assert without_secrets(event).body == event.body.replace(b'[1, "]"]', f'"{MASK}"'.encode())


def test_what_has_no_secret_is_as_it_was() -> None:
    for event in NASTY.values():
        assert without_secrets(event) == event
