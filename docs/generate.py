"""Writes what is made from the code into the pages of docs/reference.

Between `<!-- made: NAME -->` and `<!-- end -->` a page has what the function of that name gives:
tables of settings, commands, errors, metrics and limits. `make docs` writes them anew, and
`tests/unit/test_docs.py` fails when one is not what this makes.
"""

from __future__ import annotations

import importlib
import inspect
import itertools
import pkgutil
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple, get_args, get_origin

import msgspec
from prometheus_client.metrics import MetricWrapperBase

import relay_chatwoot
import relay_client.chatwoot
import relay_client.chatwoot.testing
import relay_client.cli
import relay_protocol
import relay_server.cli.whole
import relay_terminal
from relay_client.chatwoot.answering import REASONS
from relay_client.chatwoot.metrics import Metrics as BotMetrics
from relay_client.errors import ClientError, ExitStatus
from relay_client.settings import ClientSettings
from relay_protocol.errors import RelayError
from relay_protocol.values import FailureKind
from relay_server.configs import ChannelConfig, ForwardConfig, Policy
from relay_server.filters.language import KNOWN
from relay_server.metrics import Canaries, LastReading, Metrics, PerWebhook
from relay_server.settables import Bounds, settings_of
from relay_server.settings import ServerSettings
from relay_server.web.access import CODES
from relay_server.web.limits import Limit
from relay_terminal.settings import Setting, Settings
from relay_terminal.usage import is_shown, made, spelled
from relay_terminal.values import Secret

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"
MADE = re.compile(r"(<!-- made: (\w+) -->)(\n?).*?(\n?<!-- end -->)", re.DOTALL)

# Defaults that depend on the machine, and what to say instead.
DEFAULT_PLACES = {"data_dir": "`relay-server` in the user's data folder (`~/.local/share`)"}
KINDS = {Path: "path", Secret: "secret", str: "text", tuple: "list"}
KINDS |= {bool: "`true` or `false`", int: "whole number", float: "number"}
BOUNDS = {"ge": "from", "gt": "above", "le": "to"}
# Codes that no class has: they are written where an answer is made.
OTHER_CODES = {
    "error": "The server failed to answer; its log says why.",
    "http_error": "Another refusal of HTTP's own.",
    "method_not_allowed": "The path exists, but not for this method (405).",
    "not_found": "Nothing is at this path (404).",
    "taken_over": "Another client connected under the same name (close code 4409).",
    "token_revoked": "The token was revoked while connected (close code 4401).",
}
CODE_WRITTEN = re.compile(r'(?:error_response|refuse|CODES\.get)\([^,"]+, "(\w+)"')


def pages() -> dict[Path, str]:
    """Every page that has something made, by its file, as it must be."""
    texts = {path: path.read_text("utf-8") for path in sorted(REFERENCE.glob("*.md"))}
    return {path: MADE.sub(_made, text) for path, text in texts.items() if MADE.search(text)}


def _made(mark: re.Match[str]) -> str:
    return mark[1] + mark[3] + "\n".join(MAKERS[mark[2]]()) + mark[4]


def _table(columns: str, rows: Iterable[Sequence[object]]) -> Iterator[str]:
    heads = columns.split(" | ")
    for cells in (heads, ["---"] * len(heads), *rows):
        yield "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def _summary(thing: Any) -> str:
    return (inspect.getdoc(thing) or "").partition("\n")[0]


def _listed(words: Iterable[str]) -> list[str]:
    return [", ".join(f"`{word}`" for word in words)]


def _settings(settings: type[Settings], prefix: str, *commands: Any) -> Iterator[str]:
    options = [p for c in commands for p in c.params if p.param_type_name == "option"]
    flags = {option.name: f"`{option.opts[0]}`" for option in options}
    rows = list[Sequence[object]]()
    for name, one in settings.declared().items():
        default = DEFAULT_PLACES.get(name) or _default(one.default)
        variable = f"`{prefix}{name.upper()}`"
        rows.append((variable, flags.get(name, ""), _takes(one), default, one.meta.description))
    return _table("variable | flag | takes | default | meaning", rows)


def _takes(one: Setting) -> str:
    """What a setting takes."""
    if get_origin(one.kind) is Literal:
        return _listed(get_args(one.kind))[0]
    given = ((word, getattr(one.meta, name)) for name, word in BOUNDS.items())
    bounds = (f"{word} {bound}" for word, bound in given if bound is not None)
    return " ".join([KINDS[get_origin(one.kind) or one.kind], *bounds])


def _default(value: object) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return "" if value in (None, "", ()) else f"`{value}`"


def _sections(command: Any, path: str) -> Iterator[str]:
    """A command's options, and a section for each command below it."""
    yield from _options(command.params)
    for name, child in command.commands.items():
        if hasattr(child, "commands"):
            yield from _sections(child, f"{path} {name}")
            continue
        shown = [p for p in child.params if p.param_type_name == "argument" and is_shown(p)]
        arguments = map(spelled, shown)
        yield from ("", f"### `{' '.join([path, name, *arguments])}`", "", child.help.strip())
        if child.params:
            yield from ("", *_options(child.params))


def _options(parameters: Sequence[Any]) -> Iterator[str]:
    shown = [p for p in parameters if is_shown(p) and not p.name.endswith("_completion")]
    if shown:
        must = " (must be given)"
        rows = ((f"`{spelled(p)}{must * _must(p)}`", p.help) for p in shown)
        yield from _table("option | meaning", rows)


def _must(parameter: Any) -> bool:
    return bool(parameter.required) and parameter.param_type_name == "option"


def _errors(*, of_client: bool) -> list[type[Any]]:
    """Every error that has a code of its own, of the client or of all else."""
    for package in (relay_protocol, relay_terminal, relay_chatwoot, relay_server, relay_client):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    found = [error for error in _subclasses(RelayError) if "code" in vars(error)]
    return [error for error in found if issubclass(error, ClientError) == of_client]


def _subclasses(error: type[RelayError]) -> Iterator[type[RelayError]]:
    for child in error.__subclasses__():
        if child.__module__.startswith("relay_"):
            yield child
            yield from _subclasses(child)


def _server_errors() -> Iterator[str]:
    """A row a code; errors that share one share its row."""
    by_code: dict[str, list[type[RelayError]]] = defaultdict(list)
    for error in sorted(_errors(of_client=False), key=lambda e: (e.code, _summary(e))):
        by_code[error.code].append(error)
    return _table(
        "code | status | meaning | hint",
        (
            (f"`{code}`", same[0].status_hint, " Or: ".join(map(_summary, same)), same[0].hint)
            for code, same in by_code.items()
        ),
    )


def _other_codes() -> Iterator[str]:
    codes = set(CODES.values())
    for file in (ROOT / "relay_server" / "web").glob("*.py"):
        codes |= set(CODE_WRITTEN.findall(file.read_text("utf-8")))
    others = sorted(codes - {error.code for error in _errors(of_client=False)})
    return _table("code | meaning", ((f"`{code}`", OTHER_CODES[code]) for code in others))


def _client_errors() -> Iterator[str]:
    found = sorted(_errors(of_client=True), key=lambda e: (e.exit_status, e.code))
    rows = ((f"`{e.code}`", int(e.exit_status), _summary(e)) for e in found)
    return _table("code | exit status | meaning", rows)


def _metrics() -> Iterator[str]:
    made = (PerWebhook(), LastReading(), Canaries())
    collected = itertools.chain.from_iterable(one.collect() for one in made)
    families: list[tuple[Any, Any]] = [(family, family) for family in collected]
    return _table_of_metrics([*families, *_described(Metrics())])


def _bot_metrics() -> Iterator[str]:
    return _table_of_metrics(_described(BotMetrics()))


def _described(owner: object) -> Iterator[tuple[Any, Any]]:
    wrapped = [m for m in vars(owner).values() if isinstance(m, MetricWrapperBase)]
    return ((family, m) for m in wrapped for family in m.describe())


def _table_of_metrics(families: Iterable[tuple[Any, Any]]) -> Iterator[str]:
    return _table("metric | type | labels | meaning", itertools.starmap(_metric, families))


def _metric(family: Any, labelled: Any) -> Sequence[object]:
    name = family.name + ("_total" if family.type == "counter" else "")
    return f"`{name}`", family.type, _listed(labelled._labelnames)[0], family.documentation


# What limits a part of the code: a module's title, by the longest folder that it lies in.
PARTS = {
    "relay_protocol": "Both ends of the tunnel",
    "relay_server/web": "Server: requests",
    "relay_server/delivery": "Server: delivery",
    "relay_server/store": "Server: store",
    "relay_server": "Server: all else",
    "relay_chatwoot": "Speaking to a Chatwoot, by server and bot",
    "relay_http": "Posting to a target, by server and client",
    "relay_terminal": "Screens and streams of both commands",
    "relay_client": "Client",
}
CONSTANT = re.compile(r"([A-Z][A-Z0-9_]*) = ([\d_.]+)(?:  # (.*))?")
# A constant of such a name is a limit, and has to say of what.
LIMIT_NAME = re.compile(r"(MAX|MIN)_\w+|\w+_(S|BYTES|CHARS|DAYS)")
# Numbers of formats and protocols, which bound nothing.
NO_LIMITS = {"APPLICATION_ID", "FRAME_HEAD", "GONE", "PAGE_SIZE", "VERSION"}


class Constant(NamedTuple):
    """A number that a module gives a public name.

    Attributes:
        file: From the root of the project.
        value: As the page shows it, with its unit.
        comment: What stands above its line and behind it.
    """

    file: str
    name: str
    value: str
    comment: str


def constants() -> Iterator[Constant]:
    """Public names of numbers at the top of modules, in order."""
    for part in {part.partition("/")[0]: None for part in PARTS}:
        for path in sorted((ROOT / part).rglob("*.py")):
            lines = path.read_text("utf-8").splitlines()
            for number, line in enumerate(lines):
                found = CONSTANT.fullmatch(line)
                if found is None or found[1] in NO_LIMITS:
                    continue
                above = [*takewhile(lambda text: text.startswith("#"), reversed(lines[:number]))]
                words = [text.lstrip("# ") for text in reversed(above)]
                comment = " ".join(filter(None, (*words, found[3])))
                value = _with_unit(found[1], float(found[2]))
                yield Constant(path.relative_to(ROOT).as_posix(), found[1], value, comment)


def undocumented_limits() -> list[str]:
    """Limits by their names that have no comment."""
    silent = (c for c in constants() if LIMIT_NAME.fullmatch(c.name) and not c.comment)
    return [f"{constant.file} {constant.name}" for constant in silent]


def _limits() -> Iterator[str]:
    """A section for each part of the code that has some."""
    known = [constant for constant in constants() if constant.comment]
    longest = {c: max((p for p in PARTS if c.file.startswith(f"{p}/")), key=len) for c in known}
    for part, title in PARTS.items():
        rows = (
            (f"`{c.file.removeprefix(f'{part}/')}` `{c.name}`", c.value, c.comment)
            for c in known
            if longest[c] == part
        )
        yield from ("", f"## {title}", "", *_table("limit | value | of what", rows))


def _names_of(library: ModuleType) -> Iterator[str]:
    named = ((name, getattr(library, name)) for name in library.__all__)
    return _table("name | what it is", ((f"`{name}`", _summary(it)) for name, it in named))


def _operators_limits() -> Iterator[str]:
    rows = list[Sequence[object]]()
    for config in (ChannelConfig, Policy, ForwardConfig):
        fields = msgspec.structs.fields(config)
        defaults = {field.name: field.default for field in fields if not field.required}
        for name, _, setting, check in settings_of(config):
            if not setting.help or name not in defaults:
                continue
            option = setting.option or f"--{name.replace('_', '-')}"
            ends = (check.low, check.high) if isinstance(check, Bounds) else ()
            span = " to ".join(_plainly(name, end) for end in ends)
            rows.append((f"`{option}`", _plainly(name, defaults[name]), span, setting.help))
    return _table("option | default | from, to | of what", rows)


def _plainly(name: str, value: object) -> str:
    """The value of a field as people read it; nothing for none."""
    match value:
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return _with_unit(name.upper(), value)
        case tuple():
            return ", ".join(_plainly(name, one) for one in value)
        case _:
            return "" if value is None else str(value)


# By the word that a name ends in: sizes of its unit, the largest first.
UNITS = {
    "BYTES": ((1 << 50, "PiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "bytes")),
    "S": ((86_400, "days"), (3_600, "h"), (60, "min"), (0, "s")),
    "MS": ((3_600_000, "h"), (60_000, "min"), (0, "ms")),
    "DAYS": ((0, "days"),),
    "CHARS": ((0, "characters"),),
}


def _with_unit(name: str, number: float) -> str:
    """A number as people read it, in the largest unit that it is whole in."""
    units = () if name.endswith("_PER_S") else UNITS.get(name.rpartition("_")[2], ())
    for size, unit in units:
        if not size or (number and number % size == 0):
            return f"{_short(number / (size or 1))} {unit}"
    return _short(number)


def _short(number: float) -> str:
    return f"{int(number):,}" if number == int(number) else f"{number:g}"


SERVER: Any = made(relay_server.cli.whole.app)
CLIENT: Any = made(relay_client.cli.whole())
MAKERS: dict[str, Callable[[], Iterable[str]]] = {
    "server_settings": lambda: _settings(
        ServerSettings, "RELAY_SERVER_", SERVER, SERVER.commands["serve"]
    ),
    "client_settings": lambda: _settings(
        ClientSettings, "RELAY_CLIENT_", CLIENT.commands["connect"]
    ),
    "server_commands": lambda: _sections(SERVER, "relay-server"),
    "client_commands": lambda: _sections(CLIENT, "relay-client"),
    "exit_statuses": lambda: [
        ", ".join(f"{s.value} {s.name.lower().replace('_', ' ')}" for s in ExitStatus)
    ],
    "server_errors": _server_errors,
    "other_codes": _other_codes,
    "client_errors": _client_errors,
    "metrics": _metrics,
    "bot_metrics": _bot_metrics,
    "kinds_of_limits": lambda: _listed(Limit),
    "kinds_of_failures": lambda: _listed(FailureKind),
    "operators_limits": _operators_limits,
    "limits": _limits,
    "library_names": lambda: _names_of(relay_client.chatwoot),
    "testing_names": lambda: _names_of(relay_client.chatwoot.testing),
    "verdicts": lambda: _table(
        "code | reason", ((f"`{code}`", reason) for code, reason in REASONS.items())
    ),
    "filter_words": lambda: _table(
        "word | asks for", ((f"`{word}:`", meaning) for word, meaning in KNOWN.items())
    ),
}


def main() -> None:
    """Write the pages."""
    for path, text in pages().items():
        path.write_text(text, "utf-8")
        sys.stdout.write(f"{path.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
