"""Writes the pages of docs/reference that are made from the code.

Settings, commands, errors, metrics and limits: `make docs` writes them, and
`tests/unit/test_docs.py` fails when one is not what this makes.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

import annotated_types
import msgspec
import typer.main
from prometheus_client.metrics import MetricWrapperBase
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

import relay_client.cli
import relay_protocol
import relay_server.cli
from relay_client.errors import ClientError, ExitStatus
from relay_client.settings import ClientSettings
from relay_protocol.errors import RelayError
from relay_protocol.values import FailureKind
from relay_server.configs import Bounds, ChannelConfig, ForwardConfig, Policy, Setting
from relay_server.metrics import Metrics
from relay_server.settings import ServerSettings
from relay_server.web.limits import Limit

ROOT = Path(__file__).parents[1]
MAKE_ERRORS = ("error_response", "refuse", "CODES.get")  # their second argument is a code
REFERENCE = ROOT / "docs" / "reference"
MADE = "<!-- Made by docs/generate.py from the code: change it there. -->"

# Defaults that depend on the machine, and what to say instead.
DEFAULT_PLACES = {"data_dir": "`relay-server` in the user's data folder (`~/.local/share`)"}
OTHER_CODES = {
    "error": "The server failed to answer; its log says why.",
    "http_error": "Another refusal of HTTP's own.",
    "method_not_allowed": "The path exists, but not for this method (405).",
    "not_found": "Nothing is at this path (404).",
    "taken_over": "Another client connected under the same name (close code 4409).",
    "token_revoked": "The token was revoked while connected (close code 4401).",
}
KINDS = {
    "Path": "path",
    "bool": "`true` or `false`",
    "str": "text",
    "int": "whole number",
    "float": "number",
    "tuple": "list",
}


def pages() -> dict[Path, str]:
    """Every page by its file, as it must be."""
    texts = {
        "settings.md": settings_page(),
        "commands.md": commands_page(),
        "errors.md": errors_page(),
        "metrics.md": metrics_page(),
        "limits.md": limits_page(),
    }
    return {REFERENCE / name: text for name, text in texts.items()}


def settings_page() -> str:
    """Every setting of both programs."""
    server_flags = _flags(_command(relay_server.cli.app)) | _flags(
        _command(relay_server.cli.app, "serve")
    )
    client_flags = _flags(_command(relay_client.cli.app, "connect"))
    return _page(
        "Settings",
        "A flag weighs more than the environment, that more than a file, and that more than the",
        "default. An unknown or impossible setting stops the start with a message that names it.",
        "Lists are written with commas. Units are in the names: `_S` is seconds, `_BYTES` bytes.",
        "",
        "## relay-server",
        "",
        "The file is `settings.toml` in the data dir, with the setting's name in lower case and",
        'without prefix: `public_url = "https://relay.example.com"`. `relay-server init',
        "--public-url …` writes it. Any variable whose name does not end in `_FILE` already",
        "can also be given as `…_FILE`: the name of a file that holds the value, such as a Docker",
        "secret. `relay-server status` shows every value and where it came from.",
        "",
        *_settings_table(ServerSettings, "RELAY_SERVER_", server_flags),
        "",
        "## relay-client",
        "",
        "The file is the login that `relay-client login` keeps: the URL, the token and the CA",
        "file. `relay-client whoami` shows what is set and where it came from. `HTTPS_PROXY` and",
        "`NO_PROXY` are honoured towards the relay, and never towards a target. `NO_COLOR` turns",
        "colours off.",
        "",
        *_settings_table(ClientSettings, "RELAY_CLIENT_", client_flags),
    )


def commands_page() -> str:
    """Every command of both programs with its arguments and options."""
    return _page(
        "Commands",
        "Every command takes `--help`. `--json` prints JSON alone on stdout, on one line;",
        "messages for people go to stderr.",
        "",
        "## relay-server",
        "",
        "Exit status: 0 done, 1 failed, 2 wrong usage or a setting that cannot be. The commands",
        "other than `serve` and `health` work whether or not the server runs: through",
        "`control.sock` in the data dir when it does, on the store itself when not. Run them as",
        "the user that the server runs as, and with the same data dir: `--data-dir` goes before",
        "the command's name.",
        "",
        *_command_sections(_command(relay_server.cli.app), "relay-server"),
        "",
        "## relay-client",
        "",
        "Exit status: " + ", ".join(f"{s.value} {_words(s.name)}" for s in ExitStatus) + ".",
        "A `connect` that cannot reach the relay tries again until it can. Ctrl-C finishes what is",
        "under way; a second one does not.",
        "",
        *_command_sections(_command(relay_client.cli.app), "relay-client"),
    )


def errors_page() -> str:
    """Every error with its stable code."""
    server = [e for e in _error_classes() if not issubclass(e, ClientError)]
    client = [e for e in _error_classes() if issubclass(e, ClientError)]
    others = _literal_codes() - {e.code for e in server}
    return _page(
        "Errors",
        "Codes are stable: programs may rely on them. Messages may change. Over HTTP an error is",
        '`{"error": {"code": "…", "message": "…", "hint": "…"}}`; `hint` is left out when the',
        "message says it all. What to do about each is in [trouble](../how-to/trouble.md).",
        "",
        "## Server and protocol",
        "",
        "The status is the HTTP status where the error is answered to a request. A webhook that",
        "cannot be stored is answered with 429 on a channel whose sender is Chatwoot, because its",
        "agent bots try again after that, and with 503 elsewhere; both with `Retry-After`.",
        "",
        "| code | status | meaning | hint |",
        "| --- | --- | --- | --- |",
        *_server_rows(server),
        "",
        "More codes, of HTTP answers and of the `error` message on the WebSocket:",
        "",
        "| code | meaning |",
        "| --- | --- |",
        *(_row(f"`{code}`", OTHER_CODES[code]) for code in sorted(others)),
        "",
        "## Client",
        "",
        "The client prints its errors on stderr and ends with the exit status.",
        "",
        "| code | exit status | meaning |",
        "| --- | --- | --- |",
        *(
            _row(f"`{e.code}`", f"{int(e.exit_status)}", _summary(e))
            for e in sorted(client, key=lambda e: (e.exit_status, e.code))
        ),
    )


def _server_rows(errors: Iterable[type[RelayError]]) -> Iterator[str]:
    """A row a code; errors that share one share its row."""
    by_code: dict[str, list[type[RelayError]]] = defaultdict(list)
    for error in sorted(errors, key=lambda e: (e.code, _summary(e))):
        by_code[error.code].append(error)
    for code, same in by_code.items():
        meanings = " Or: ".join(_summary(error) for error in same)
        yield _row(f"`{code}`", same[0].status_hint, meanings, same[0].hint)


def metrics_page() -> str:
    """Every metric of the ops port."""
    metrics = vars(Metrics()).values()
    ours = [m for m in metrics if isinstance(m, MetricWrapperBase)]
    kinds = ", ".join(f"`{kind}`" for kind in FailureKind)
    limits = ", ".join(f"`{limit}`" for limit in Limit)
    return _page(
        "Metrics",
        "`GET /metrics` on the ops port (`RELAY_SERVER_OPS_HOST`, loopback by default, and",
        "`RELAY_SERVER_OPS_PORT`) answers in Prometheus' text format, without a token.",
        "",
        "| metric | type | labels | meaning |",
        "| --- | --- | --- | --- |",
        *(_metric_row(metric) for metric in ours),
        "",
        "- `channel`: the channel's name; empty for a request that was refused before its sender",
        "  was let in, whatever channel it named; `canary` for the channels that `doctor` makes.",
        f"- `limit`: one of {limits}.",
        "- `answer`: the HTTP status that the sender got, such as `200`.",
        f"- `outcome`: the class of the target's status, such as `2xx`, or one of {kinds}.",
        "",
        "Beside these there are prometheus-client's own `process_…` (Linux) and `python_gc_…`, and",
        "for each counter and histogram a `…_created`: when it began.",
    )


# What limits a part of the code: a module's title, by the longest folder that it lies in.
PARTS = {
    "relay_protocol": "Both ends of the tunnel",
    "relay_server/web": "Server: requests",
    "relay_server/delivery": "Server: delivery",
    "relay_server/store": "Server: store",
    "relay_server": "Server: all else",
    "relay_http": "Posting to a target, by server and client",
    "relay_client": "Client",
}
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


def limits_page() -> str:
    """Every limit of the code, in its own words."""
    found: dict[str, list[Constant]] = {part: [] for part in PARTS}
    for constant in constants():
        if constant.comment:
            part = max((p for p in PARTS if constant.file.startswith(f"{p}/")), key=len)
            found[part].append(constant)
    return _page(
        "Limits",
        "Every number that bounds something, by the part of the code that obeys it, in the words",
        "of its own comment there. What is set of the server is in [settings](settings.md).",
        "",
        '"429 or 503" is 429 on a channel whose sender is Chatwoot and 503 elsewhere, both with',
        "`Retry-After`: nothing was stored. 4400 is the code that a WebSocket is closed with.",
        "Refusals because of too much of something are counted in `relay_limited_total`, and",
        "logged once in a while; refused webhooks of every kind in `relay_webhooks_total`.",
        "",
        "Channels, tokens and forwards have no limit of their own: only an administrator makes",
        "them.",
        "",
        "## Set of a channel, of how its subscriptions deliver, and of a forward",
        "",
        "| option | default | from, to | of what |",
        "| --- | --- | --- | --- |",
        *_operators_rows(),
        *(line for part in PARTS for line in _limits(part, found[part])),
    )


def _operators_rows() -> Iterator[str]:
    for config in (ChannelConfig, Policy, ForwardConfig):
        for field in msgspec.structs.fields(config):
            notes = getattr(field.type, "__metadata__", ())
            setting = next((note for note in notes if isinstance(note, Setting)), Setting())
            if not setting.help or field.required:
                continue
            option = setting.option or f"--{field.name.replace('_', '-')}"
            ends = [end for n in notes if isinstance(n, Bounds) for end in (n.low, n.high)]
            span = " to ".join(_plainly(field.name, end) for end in ends)
            yield _row(f"`{option}`", _plainly(field.name, field.default), span, setting.help)


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


def _limits(part: str, limits: Iterable[Constant]) -> Iterator[str]:
    yield from ("", f"## {PARTS[part]}", "", "| limit | value | of what |", "| --- | --- | --- |")
    for limit in limits:
        place = limit.file.removeprefix(f"{part}/")
        yield _row(f"`{place}` `{limit.name}`", limit.value, limit.comment)


def constants() -> Iterator[Constant]:
    """Public names of numbers at the top of modules, in order."""
    for part in ("relay_protocol", "relay_server", "relay_http", "relay_client"):
        for path in sorted((ROOT / part).rglob("*.py")):
            source = path.read_text("utf-8")
            comments = _comments(source)
            for node in ast.parse(source).body:
                match node:
                    case ast.Assign([ast.Name(name)], ast.Constant(int() | float() as number)):
                        if name.isupper() and name[0] != "_" and name not in NO_LIMITS:
                            comment = _comment_of(node, comments)
                            file = path.relative_to(ROOT).as_posix()
                            yield Constant(file, name, _with_unit(name, number), comment)
                    case _:
                        pass


def undocumented_limits() -> list[str]:
    """Limits by their names that have no comment."""
    return [
        f"{constant.file} {constant.name}"
        for constant in constants()
        if LIMIT_NAME.fullmatch(constant.name) and not constant.comment
    ]


def _comments(source: str) -> dict[int, tuple[bool, str]]:
    """By line: if the comment has the line for itself, and its text."""
    tokens = tokenize.generate_tokens(iter(source.splitlines(keepends=True)).__next__)
    return {
        token.start[0]: (token.line.lstrip().startswith("#"), token.string.lstrip("# "))
        for token in tokens
        if token.type == tokenize.COMMENT
    }


def _comment_of(node: ast.stmt, comments: dict[int, tuple[bool, str]]) -> str:
    """The comment right above a statement, and the one behind it."""
    above, line = list[str](), node.lineno - 1
    while comments.get(line, (False, ""))[0]:
        above.insert(0, comments[line][1])
        line -= 1
    _, behind = comments.get(node.lineno, (False, ""))
    return " ".join(filter(None, (*above, behind)))


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


def main() -> None:
    """Write the pages."""
    for path, text in pages().items():
        path.write_text(text, "utf-8")
        sys.stdout.write(f"{path.relative_to(ROOT)}\n")


def _page(title: str, *lines: str) -> str:
    return "\n".join([f"# {title}", "", MADE, "", *lines]).rstrip() + "\n"


def _row(*cells: object) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def _words(name: str) -> str:
    return name.lower().replace("_", " ")


def _summary(thing: type) -> str:
    return (inspect.getdoc(thing) or "").partition("\n")[0]


def _settings_table(
    settings: type[BaseSettings], prefix: str, flags: dict[str, str]
) -> Iterator[str]:
    yield "| variable | flag | takes | default | meaning |"
    yield "| --- | --- | --- | --- | --- |"
    for name, field in settings.model_fields.items():
        flag = f"`{flags[name]}`" if name in flags else ""
        variable = f"`{prefix}{name.upper()}`"
        yield _row(variable, flag, _takes(field), _default(name, field), field.description)


def _takes(field: FieldInfo) -> str:
    choices = [a for a in (field.annotation, *get_args(field.annotation)) if a is not type(None)]
    for choice in choices:
        if get_origin(choice) is Literal:
            return ", ".join(f"`{value}`" for value in get_args(choice))
    if SecretStr in choices:
        return "secret"
    origin = get_origin(choices[0])
    kind = next(a for a in choices if isinstance(a, type)) if origin is not tuple else tuple
    return " ".join([KINDS[kind.__name__], *_bounds(field)])


def _bounds(field: FieldInfo) -> Iterator[str]:
    for bound in field.metadata:
        match bound:
            case annotated_types.Ge(ge):
                yield f"from {ge}"
            case annotated_types.Gt(gt):
                yield f"above {gt}"
            case annotated_types.Le(le):
                yield f"to {le}"
            case _:
                pass  # a pattern: the message says it


def _default(name: str, field: FieldInfo) -> str:
    if name in DEFAULT_PLACES:
        return DEFAULT_PLACES[name]
    if isinstance(field.default, bool):
        return f"`{str(field.default).lower()}`"
    return "" if field.default in (None, "", ()) else f"`{field.default}`"


def _command(app: typer.Typer, *names: str) -> Any:
    command: Any = typer.main.get_command(app)
    for name in names:
        command = command.commands[name]
    return command


def _flags(command: Any) -> dict[str, str]:
    """Settings' names to the flags that set them."""
    return {p.name: p.opts[0] for p in command.params if p.param_type_name == "option"}


def _command_sections(command: Any, path: str) -> Iterator[str]:
    yield from _options(command.params)
    for name, child in command.commands.items():
        if hasattr(child, "commands"):
            yield from _command_sections(child, f"{path} {name}")
            continue
        arguments = [p for p in child.params if p.param_type_name == "argument"]
        usage = " ".join([path, name, *(_argument(a) for a in arguments)])
        yield from ("", f"### `{usage}`", "", child.help.strip())
        if child.params:
            yield ""
            yield from _options(child.params)


def _argument(parameter: Any) -> str:
    return parameter.name.upper() if parameter.required else f"[{parameter.name.upper()}]"


def _options(parameters: Sequence[Any]) -> Iterator[str]:
    shown = [p for p in parameters if p.help and not p.name.endswith("_completion")]
    if not shown:
        return
    yield "| option | meaning |"
    yield "| --- | --- |"
    for parameter in shown:
        yield _row(f"`{_spelled(parameter)}`", parameter.help)


def _spelled(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return _argument(parameter)
    spelled = "/".join([*parameter.opts, *parameter.secondary_opts])
    if not parameter.is_flag:
        spelled += (
            f" {parameter.metavar or parameter.opts[0].lstrip('-').upper().replace('-', '_')}"
        )
    return f"{spelled} (must be given)" if parameter.required else spelled


def _error_classes() -> Iterable[type[Any]]:
    """Every error that has a code of its own."""
    for package in (relay_protocol, relay_server, relay_client):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    return [error for error in _subclasses(RelayError) if "code" in vars(error)]


def _subclasses(error: type[RelayError]) -> Iterator[type[RelayError]]:
    for child in error.__subclasses__():
        if child.__module__.partition(".")[0].startswith("relay_"):
            yield child
            yield from _subclasses(child)


def _literal_codes() -> set[str]:
    """Codes that are written where an answer is made."""
    codes = set(importlib.import_module("relay_server.web.errors").CODES.values())
    for file in sorted((ROOT / "relay_server" / "web").glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and _called(node.func) in MAKE_ERRORS:
                second = node.args[1:2]
                codes |= {str(a.value) for a in second if isinstance(a, ast.Constant)}
    return codes


def _called(function: ast.expr) -> str:
    return ast.unparse(function).removeprefix("self._session.")


def _metric_row(metric: Any) -> str:
    family = metric.describe()[0]
    name = family.name + ("_total" if family.type == "counter" else "")
    labels = ", ".join(f"`{label}`" for label in metric._labelnames)
    return _row(f"`{name}`", family.type, labels, family.documentation)


if __name__ == "__main__":
    main()
