"""An event as a script that sends it to a target: for curl, for HTTPie, as a test for pytest. Pure.

Or as JSON, which sends nothing: what to put into a ticket, or to give to a program.

Whatever a sender wrote is data to the shell: each word is in single quotes (`shlex`), which POSIX
shells and zsh leave alone. What a terminal or an argument cannot hold (control characters, NUL,
bytes that are no UTF-8, long bodies) goes through a file, in base64 from a here-document. All of it
stands in a subshell, so that neither the file nor a trap outlives it. `TARGET` says where it goes.
"""

from __future__ import annotations

import base64
import enum
import json
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import quote

import msgspec

from relay_protocol.values import HeaderList, RequestHead
from relay_server.bodies.hidden import clean_body, is_json
from relay_server.bodies.inflating import BEGINNINGS, CODING, says_so
from relay_server.bodies.tree import MASK
from relay_server.errors import InvalidValue
from relay_server.filters.secrets import SECRET_NAME
from relay_server.signing import PROOFS

MAX_INLINE_BYTES = 16_384  # of a body in a script; a longer one stands there in base64
MAX_NAMED = 10  # webhooks that a test leaves out, by their ids; of others it has the number
TARGET = "http://localhost:8000"
SECRET_HEADERS = frozenset({b"authorization", b"cookie", b"set-cookie"}) | PROOFS

_IN_QUERY = re.compile(rf"([?&][^=&]*{SECRET_NAME}=)[^&]+", re.IGNORECASE)
_WHAT_EACH_SAYS = frozenset({b"host", b"content-length"})  # whichever program sends it
_SPECIAL = re.compile(r"\\[:;=@]")  # what HTTPie makes one character of

_CURL_SAYS = ("User-Agent", "Accept", "Content-Type", "Expect")
_HTTPIE_SAYS = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")

_TEST = '''\
"""Sends {id} to a target: TARGET={target} pytest FILE{note}"""

import os
from http.client import HTTPResponse
from socket import create_connection
from urllib.parse import urlsplit

REQUEST = {line!r}
HEADERS = [
{headers}]
BODY = {body}


def test_{name}():
    target = urlsplit(os.environ.get("TARGET", {target!r}))
    head = [REQUEST, b"Host: " + target.netloc.encode(), *HEADERS, b"Connection: close"]
    with create_connection((target.hostname, target.port or 80), timeout=60) as connection:
        connection.sendall(b"\\r\\n".join([*head, b"", BODY]))
        response = HTTPResponse(connection, method={method!r})
        response.begin()
        assert 200 <= response.status < 300, response.read()
'''

_TEST_OF_MANY = '''\
"""Sends a conversation's webhooks to a target, in their order: TARGET={target} pytest FILE

{note}"""

import os
from http.client import HTTPResponse
from socket import create_connection
from urllib.parse import urlsplit

import pytest

CONVERSATION = {key!r}
WEBHOOKS = [  # id, method, request line, headers, body
{webhooks}]


@pytest.fixture(params=WEBHOOKS, ids=[one[0] for one in WEBHOOKS])
def webhook(request):
    """One webhook after the other."""
    return request.param


def test_the_target_takes_it(webhook):
    _, method, line, headers, body = webhook
    target = urlsplit(os.environ.get("TARGET", {target!r}))
    head = [line, b"Host: " + target.netloc.encode(), *headers, b"Connection: close"]
    with create_connection((target.hostname, target.port or 80), timeout=60) as connection:
        connection.sendall(b"\\r\\n".join([*head, b"", body]))
        response = HTTPResponse(connection, method=method)
        response.begin()
        assert 200 <= response.status < 300, response.read()
'''

_WEBHOOK = """\
    (
        {id!r},
        {method!r},
        {line!r},
        [
{headers}        ],
        {body},
    ),
"""


class Language(enum.StrEnum):
    """What a script is for."""

    CURL = "curl"
    HTTPIE = "httpie"
    PYTEST = "pytest"
    JSON = "json"


class Sent(msgspec.Struct, frozen=True):
    """What a script sends.

    Attributes:
        masked: Secrets are left out of it.
    """

    id: str
    request: RequestHead
    body: bytes
    masked: bool = False

    @property
    def headers(self) -> HeaderList:
        """Those that the event has, but for what depends on who sends it, and where."""
        each = self.request.headers
        return tuple((n, v) for n, v in each if n.lower() not in _WHAT_EACH_SAYS)

    @property
    def has_body(self) -> bool:
        """True if its length is said, though it may be 0."""
        return bool(self.body) or any(
            n.lower() == b"content-length" for n, _ in self.request.headers
        )

    def unsaid(self, names: Iterable[str]) -> Iterator[str]:
        """Which of these headers it does not have."""
        said = {name.lower() for name, _ in self.request.headers}
        return (name for name in names if name.lower().encode() not in said)


def without_secrets(sent: Sent) -> Sent:
    """The same with headers, values of the query and fields of JSON masked that are secrets."""
    request, mask = sent.request, MASK.encode()
    headers = [(n, mask if n.lower() in SECRET_HEADERS else v) for n, v in request.headers]
    target = _IN_QUERY.sub(rf"\g<1>{quote(MASK)}", request.request_target)
    body = clean_body(sent.body, request.headers)
    if (sent.masked or body != sent.body) and not body.startswith(BEGINNINGS):
        headers = [(n, v) for n, v in headers if n.lower() != CODING or not says_so(((n, v),))]
    clean = msgspec.structs.replace(request, headers=tuple(headers), request_target=target)
    masked = sent.masked or (clean, body) != (request, sent.body)
    return Sent(sent.id, clean, body, masked=masked)


def script(sent: Sent, language: Language) -> str:
    """Write the script.

    Raises:
        InvalidValue: It cannot be said in this language.
    """
    match language:
        case Language.CURL:
            return _curl(sent)
        case Language.HTTPIE:
            return _httpie(sent)
        case Language.PYTEST:
            return _pytest(sent)
        case Language.JSON:
            return _json(sent)


def _curl(sent: Sent) -> str:
    words = ["curl --silent --show-error --globoff"]
    files = dict[str, bytes]()
    is_head = sent.request.method == "HEAD" and not sent.body
    words.append("--head" if is_head else f"--request {_quoted(sent.request.method)}")
    words.append(f"--request-target {_quoted(sent.request.request_target)}")
    words += [f"--header {_quoted(f'{name}:')}" for name in sent.unsaid(_CURL_SAYS)]
    for number, (name, value) in enumerate(sent.headers):
        line = name + (b": " + value if value else b";")
        if (text := _plain(line)) is not None:
            words.append(f"--header {_quoted(text)}")
        else:
            files[f"header-{number}"] = line
            words.append(f'--header "@$folder/header-{number}"')
    if (text := _plain(sent.body)) is None or len(sent.body) > MAX_INLINE_BYTES:
        files["body"] = sent.body
        words.append('--data-binary "@$folder/body"')
    elif sent.has_body and not is_head:
        words.append(f"--data-raw {_quoted(text)}")
    return _shell(sent, [*words, f'"${{TARGET:-{TARGET}}}"'], files)


def _httpie(sent: Sent) -> str:
    files = dict[str, bytes]()
    words, items, redirected = ["http --path-as-is"], list[str](), ""
    if (text := _plain(sent.body)) is None or len(sent.body) > MAX_INLINE_BYTES:
        files["body"], redirected = sent.body, ' <"$folder/body"'
    else:
        words.append("--ignore-stdin")
        words += [f"--raw {_quoted(text)}"] if sent.body else []
    for number, (name, value) in enumerate(sent.headers):
        if _text(value) is None:
            raise InvalidValue(f"HTTPie cannot send {name.decode()!r}, which is no text: take curl")
        item = _httpie_item(name.decode("latin-1"), value)
        if item is None:
            files[f"header-{number}"] = value
            items.append(f'{_quoted(f"{name.decode()}:@")}"$folder/header-{number}"')
        else:
            items.append(_quoted(item))
    items += [_quoted(f"{name}:") for name in sent.unsaid(_HTTPIE_SAYS)]
    url = f'"${{TARGET:-{TARGET}}}"{_quoted(sent.request.request_target)}'
    words.append(f"-- {_quoted(sent.request.method)} {url}")
    items = items or [""]
    items[-1] += redirected
    return _shell(sent, [*words, *items], files)


def _httpie_item(name: str, value: bytes) -> str | None:
    """A header as HTTPie takes it; None where only a file can say it."""
    text = _plain(value)
    if text is None or _SPECIAL.search(text) or text.endswith("\\"):
        return None
    if not text:
        return f"{name};"
    return f"{name}:\\{text}" if text[0] in "=@" else f"{name}:{text}"


def script_of_many(
    key: str, sent: Sequence[Sent], left_out: Sequence[str] = (), *, complete: bool
) -> str:
    """Webhooks of one conversation as one test for pytest, which sends them in this order.

    It names those that were too large for it, and says whether that is all.
    """
    notes = [] if complete else ["These are the newest of its webhooks."]
    if left_out:
        more = f" and {len(left_out) - MAX_NAMED} more" if len(left_out) > MAX_NAMED else ""
        notes.append(f"Too large for this file: {', '.join(left_out[:MAX_NAMED])}{more}.")
    notes += ["Secrets are masked."] if any(one.masked for one in sent) else []
    webhooks = [_WEBHOOK.format(**_parts(one, " " * 12)) for one in sent]
    return _TEST_OF_MANY.format(
        note=" ".join([*notes, "Each has to be answered 2xx."]) + "\n",
        key=key,
        webhooks="".join(webhooks),
        target=TARGET,
    )


def _pytest(sent: Sent) -> str:
    return _TEST.format(
        note=" (secrets are masked)" if sent.masked else "",
        name=re.sub(r"\W", "_", sent.id),
        target=TARGET,
        **_parts(sent, " " * 4),
    )


def _json(sent: Sent) -> str:
    """All of it as JSON; a body that is JSON, too, as it is written, with each digit of a number.

    What a terminal or a reader would not see as it is (control characters, directions of text) can
    only stand in strings, and stands there as escapes.
    """
    head, text = sent.request, _text(sent.body)
    facts: dict[str, object] = {
        "id": sent.id,
        "method": head.method,
        "request_target": head.request_target,
        "headers": [
            [name.decode("latin-1"), _text(value) or value.decode("latin-1")]
            for name, value in head.headers
        ],
    }
    if text is None:
        facts["body_base64"] = base64.b64encode(sent.body).decode()
    elif not is_json(sent.body):
        facts["body_text"] = text
    members = [f"  {_dumped(name)}: {_dumped(value)}" for name, value in facts.items()]
    if text is not None and is_json(sent.body):
        members.append(f'  "body": {text.strip()}')
    return _escaped("{\n" + ",\n".join(members) + "\n}\n")


def _dumped(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _escaped(text: str) -> str:
    """A JSON text in which every character is one that is seen."""
    return "".join(
        char
        if char.isprintable() or char == "\n"
        else " "
        if char in "\t\r"
        else json.dumps(char)[1:-1]
        for char in text
    )


def _parts(sent: Sent, indent: str) -> dict[str, object]:
    """What a test in Python says of a request."""
    request = sent.request
    headers = [name + b": " + value for name, value in sent.headers]
    if sent.has_body:
        headers.append(b"Content-Length: %d" % len(sent.body))
    text = _text(sent.body)
    return {
        "id": sent.id,
        "method": request.method,
        "line": f"{request.method} {request.request_target} HTTP/1.1".encode(),
        "headers": "".join([f"{indent}{header!r},\n" for header in headers]),
        "body": repr(sent.body) if text is None else f"{text!r}.encode()",
    }


def _shell(sent: Sent, words: list[str], files: dict[str, bytes]) -> str:
    """A command, one word or option a line, behind the files that it reads."""
    lines = [f"# {sent.id}; TARGET is {TARGET} unless it is set."]
    if sent.masked:
        lines.append("# Secrets are masked: it is not quite what was sent.")
    command = " \\\n    ".join(word for word in words if word)
    if not files:
        return "\n".join([*lines, command, ""])
    lines += ["(", "folder=$(mktemp -d) || exit", "trap 'rm -rf \"$folder\"' EXIT"]
    for name, content in files.items():
        encoded = base64.encodebytes(content).decode()
        lines.append(f"base64 -d >\"$folder/{name}\" <<'END'\n{encoded}END")
    return "\n".join([*lines, command, ")", ""])


def _quoted(text: str) -> str:
    """A word that each shell takes as it is; also where it could do without: zsh reads `=ls`."""
    quoted = shlex.quote(text)
    return quoted if quoted.startswith("'") else f"'{quoted}'"


def _plain(value: bytes) -> str | None:
    """As text, if a terminal shows all of it as it is."""
    text = _text(value)
    return text if text is not None and text.replace("\n", "").isprintable() else None


def _text(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None
