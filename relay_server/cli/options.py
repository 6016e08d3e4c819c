"""Options of several commands, one for each setting of a config, and how results are printed.

typer reads a command's options from its function's signature. Two decorators write that signature:
`takes` puts an option in it for each setting of a config, and hands those that were given on, as
the API takes them; `shown` adds `--json`, and prints what the function returns.

    @app.command("set")
    @shown(show_channel)
    @takes(rules=ChannelConfig, policy=Policy, emptying=True)
    def channel_set(ctx: typer.Context, name: Name, *, rules: Json, policy: Json) -> Json:
"""

from __future__ import annotations

import enum
import inspect
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, get_args

import msgspec
import typer

from relay_protocol.times import NO_MOMENT_HINT, parse_moment, parse_span
from relay_server.cli.asking import Json, print_json
from relay_server.configs import MAX_HEADER_BYTES, MAX_SECRET_CHARS, Settable, settings_of
from relay_server.errors import InvalidValue

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder of the store [RELAY_SERVER_DATA_DIR].")
]
Name = Annotated[str, typer.Argument(help="Its name.")]
OfChannel = Annotated[str, typer.Argument(metavar="CHANNEL", help="Its channel.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Channel = Annotated[str | None, typer.Option(help="Of which channel.")]
Subscription = Annotated[str | None, typer.Option(help="For which subscription alone.")]

_UNITS = {"": 1, "K": 1_024, "M": 1_048_576, "G": 1_073_741_824, "T": 1_099_511_627_776}
_SIZE = re.compile(r"([0-9]{1,15})([KMGTkmgt]?)")


class NoMoment(InvalidValue):
    """An option's time cannot be read as one."""

    hint = NO_MOMENT_HINT


def moment(text: str | None, option: str) -> int | None:
    """Read a time that an option was given, in Unix milliseconds; now is a time, too.

    Raises:
        NoMoment: It is none.
    """
    if text is None:
        return None
    now = round(time.time() * 1_000)
    try:
        found = parse_moment(text, now)
    except ValueError as exc:
        raise NoMoment(f"{option}: {exc}") from exc
    return now if found is None else found


def read_size(text: str) -> int:
    """Read bytes such as `500M` or `2G`.

    Raises:
        InvalidValue: It is none.
    """
    size = _SIZE.fullmatch(text)
    if size is None:
        raise InvalidValue(f"{text!r} is no size such as 500M, 2G or 0")
    return int(size[1]) * _UNITS[size[2].upper()]


def read_delays(text: str) -> list[float]:
    """Read spans such as `5s,30s,2m`; none of them is `none`.

    Raises:
        InvalidValue: One is no span.
    """
    if text.strip() == "none":
        return []
    try:
        return [parse_span(part.strip()) for part in text.split(",")]
    except ValueError as exc:
        raise InvalidValue(f"--retry-delays: {exc}; or say none") from exc


def read_secret(path: Path, limit: int = MAX_SECRET_CHARS) -> str:
    """Read a file without the white space around it; `-` is a line of standard input.

    Raises:
        InvalidValue: It cannot be read, or holds too little or too much.
    """
    try:
        secret = sys.stdin.readline() if str(path) == "-" else path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise InvalidValue(f"the secret file {path} cannot be read: {exc}") from exc
    if not secret.strip() or len(secret) > limit:
        raise InvalidValue(f"{path} holds no secret of 1 to {limit} characters")
    return secret.strip()


def read_headers(files: list[str]) -> dict[str, str]:
    """Read headers as `NAME=FILE`, with the value in the file.

    Raises:
        InvalidValue: One is not, or its file holds no value.
    """
    return dict(_header(text) for text in files if text)


def _header(text: str) -> tuple[str, str]:
    name, given, file = text.partition("=")
    if not given or not file:
        raise InvalidValue(f"{text!r} is not NAME=FILE, with the header's value in the file")
    return name.strip(), read_secret(Path(file), MAX_HEADER_BYTES)


# Settings that commands take in other words than the API: their options' type, and its reader.
WORDED: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "allow_from": (list[str], lambda networks: [one for one in networks if one]),
    "headers": (list[str], read_headers),
    "hmac_secrets": (list[Path], lambda files: [read_secret(file) for file in files]),
    "max_bytes": (str, lambda text: read_size(text) or None),
    "retry_delays_s": (str, read_delays),
}


def takes(
    *left_out: str, emptying: bool = False, **configs: type[msgspec.Struct]
) -> Callable[[Callable[..., Json]], Callable[..., Json]]:
    """Give a command an option for each setting of a config, where it has a parameter for all.

    The parameter gets those that were given, as the API takes them.

    Args:
        left_out: Settings that it takes in another way.
        emptying: It has the options that empty a setting, such as `--no-hmac`, too.
        configs: Names of the command's parameters, and the config of each.
    """
    tables = {
        parameter: [one for one in settings_of(config) if one.name not in left_out]
        for parameter, config in configs.items()
    }

    def with_options(command: Callable[..., Json]) -> Callable[..., Json]:
        def run(**arguments: Any) -> Json:
            found = {name: _given(table, arguments) for name, table in tables.items()}
            return command(**arguments, **found)

        parameters = list[inspect.Parameter]()
        for parameter in inspect.signature(command, eval_str=True).parameters.values():
            table = tables.get(parameter.name)
            parameters += [parameter] if table is None else _options(table, emptying)
        return signed(run, command, parameters)

    return with_options


def shown(render: Callable[[Any], None]) -> Callable[[Callable[..., Json]], Callable[..., None]]:
    """Print what a command returns: for people, or as JSON with the option `--json`."""

    def with_json(command: Callable[..., Json]) -> Callable[..., None]:
        def run(*, as_json: bool, **arguments: Any) -> None:
            result = command(**arguments)
            if as_json:
                print_json(result)
            else:
                render(result)

        option = typer.Option("--json", help="Print JSON alone.")
        parameters = inspect.signature(command, eval_str=True).parameters.values()
        return signed(run, command, [*parameters, _keyword("as_json", bool, option, False)])

    return with_json


def signed(
    run: Callable[..., Any], command: Callable[..., Any], parameters: list[inspect.Parameter]
) -> Callable[..., Any]:
    """A function with a command's name and docstring, and these parameters, as typer reads them."""
    # Not functools.wraps: what is wrapped would be asked for its types, and has others.
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {}
    return run


def _options(table: list[Settable], emptying: bool) -> Iterator[inspect.Parameter]:
    for name, kind, setting, _ in table:
        if setting.help:
            decl = (setting.option,) if setting.option else ()
            option = typer.Option(*decl, help=setting.help, metavar=setting.metavar)
            yield _keyword(name, _type(name, kind) | None, option, None)
        if setting.emptied is not None and emptying:
            option = typer.Option(setting.emptied[0], help=setting.emptied[1])
            yield _keyword(f"no_{name}", bool, option, False)


def _keyword(name: str, kind: Any, option: Any, default: object) -> inspect.Parameter:
    annotation = Annotated[kind, option]
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def _type(name: str, kind: Any) -> Any:
    """The type of an option; the API checks which words may be."""
    if name in WORDED:
        return WORDED[name][0]
    plain = next(iter(get_args(kind)), kind)  # of `int | None`: int
    return str if issubclass(plain, enum.Enum) else plain


def _given(table: list[Settable], arguments: Json) -> Json:
    """Take the options of a table out of a command's arguments: what was given of them."""
    given: Json = {}
    for name, kind, setting, _ in table:
        # typer gives None, or an empty list, for an option that is left out.
        value, emptied = arguments.pop(name, None), arguments.pop(f"no_{name}", False)
        if setting.emptied is not None and emptied:
            given |= setting.emptied[2]
        elif value is None or value == []:
            continue
        elif name in WORDED:
            given[name] = WORDED[name][1](value)
        else:
            # Where the API takes null for no limit, people write 0.
            given[name] = (value or None) if type(None) in get_args(kind) else value
    return given
