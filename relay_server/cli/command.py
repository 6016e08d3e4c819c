"""How a command is made: what it takes, what it asks of the API, how the answer is printed.

A command's function says what to do; it does nothing itself, and knows neither how the server is
reached nor whether `--json` was given. `command` makes a command of it:

    @command(app, "set", show_channel, rules=ChannelConfig, emptying=True)
    def channel_set(name: Name, rules: Json) -> Work:
        return ask("PATCH", "channels", name, body=rules)

typer reads options from a function's signature, so that is what `command` writes: the function's
own parameters, an option for each setting of a config where there is a parameter for all of them,
and `--json`. `route` makes a command of a path of the API alone.
"""

from __future__ import annotations

import enum
import inspect
import json
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Annotated, Any, get_args
from urllib.parse import quote, urlencode

import msgspec
import typer

from relay_server.cli.options import ARGUMENTS, WORDED, Json, Yes
from relay_server.settables import Settable, settings_of
from relay_terminal.console import Console
from relay_terminal.program import confirmed
from relay_terminal.progress import progress
from relay_terminal.usage import Command, Filtering
from relay_terminal.words import _

if TYPE_CHECKING:
    from relay_server.control import Api
    from relay_server.settings import ServerSettings, Sources

Work = Callable[["Api"], Coroutine[Any, Any, Json]]  # what to do with the API
Show = Callable[[Any], None]  # prints a result for people
LOOK_S = 0.5  # between two looks at how far something is


def ask(method: str, *path: str, body: Json | None = None, query: Json | None = None) -> Work:
    """One request to the API, by the parts of its path; None is left out of its query."""
    target = target_of(*path, query=query)
    return lambda api: api.call(method, target, body)


def target_of(*path: str, query: Json | None = None) -> str:
    """A request's target below the API's root."""
    target = "/".join(quote(part, safe="") for part in path)
    given = {name: value for name, value in (query or {}).items() if value is not None}
    return f"{target}?{urlencode(given)}" if given else target


def watched(title: str, work: Work, left: Callable[[Json], int]) -> Work:
    """Do what takes the server a while, and show how far it is: what is left, by its status."""

    async def done(api: Api) -> Json:
        import asyncio

        total = left(await api.call("GET", "status"))
        stays = _("The server goes on with it.") if api.running else _("What is done stays.")
        task = asyncio.ensure_future(work(api))
        try:
            with progress(title, total, stays) as reach:
                while not (await asyncio.wait({task}, timeout=LOOK_S))[0]:
                    reach(max(0, total - left(await api.call("GET", "status"))))
            return await task
        finally:
            task.cancel()  # who is interrupted waits no longer; what is done changes nothing

    return done


def command(
    app: typer.Typer,
    name: str,
    show: Show,
    *,
    emptying: bool = False,
    filtering: bool = False,
    **configs: type[msgspec.Struct],
) -> Callable[[Callable[..., Work | Json]], Callable[..., Work | Json]]:
    """Make a command of a function, which gives what is to be asked, or the result.

    Args:
        app: Its group.
        name: Its name there.
        show: Prints the result for people.
        emptying: It has the options that empty a setting, such as `--no-hmac`, too.
        filtering: Its arguments are words of a filter.
        configs: Names of the function's parameters that get what was given of a config's settings,
            as the API takes it, but for those that have a parameter of their own.
    """

    def made(function: Callable[..., Work | Json]) -> Callable[..., Work | Json]:
        own = inspect.signature(function, eval_str=True).parameters
        tables = {
            parameter: [one for one in settings_of(config) if one.name not in own]
            for parameter, config in configs.items()
        }

        def run(ctx: typer.Context, *, as_json: bool, **arguments: Any) -> None:
            found = {name: _given(table, arguments) for name, table in tables.items()}
            context = {"ctx": ctx} if "ctx" in own else {}
            done = function(**context, **arguments, **found)
            result = done if isinstance(done, dict) else _work(ctx, done)
            _print(result, show, as_json=as_json)

        parameters = [_CONTEXT]
        for parameter in own.values():
            if parameter.name in tables:
                parameters += _options(tables[parameter.name], emptying)
            elif parameter.name != "ctx":
                parameters.append(parameter)
        _add(app, name, run, function.__doc__, [*parameters, _AS_JSON], filtering=filtering)
        return function

    return made


def route(
    app: typer.Typer,
    name: str,
    asked: str,
    show: Show | str,
    *,
    body: Json | None = None,
    sure: str = "",
    left: Callable[[Json, str], int] | None = None,
) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Make a command that asks for a path of the API; of its function only the docstring counts.

    Args:
        app: Its group.
        name: Its name there.
        asked: Method and path, such as `"GET channels/{name}"`: its arguments are the path's names.
        show: Prints the result for people; or what is said where there is none, with the names,
            which are the result then.
        body: Sent with each request.
        sure: A question that is asked before, with the names, where the path leads somewhere.
        left: Of what may take a while: how much is still to do of what has this name, by the
            server's status.
    """
    method, _space, path = asked.partition(" ")
    parts = path.split("/")
    names = [part.strip("{}") for part in parts if part.startswith("{")]

    def run(
        ctx: typer.Context, *, as_json: bool = False, yes: bool = True, **arguments: Any
    ) -> None:
        named = [part.format(**arguments) for part in parts]
        if not yes:
            _work(ctx, ask("GET", *named))  # what is not there needs no question
            confirmed(_(sure).format(**arguments), yes=False)
        work = ask(method, *named, body=body)
        if left is not None:
            title = _("Deleting {name}").format(name=named[-1])
            work = watched(title, work, lambda status: left(status, named[-1]))
        result = _work(ctx, work)
        if isinstance(show, str):
            said = _(show).format(**arguments)
            _print(arguments, lambda _result: Console.of_process().say(said), as_json=as_json)
        else:
            _print(result, show, as_json=as_json)

    parameters = [_CONTEXT, *(_parameter(name, ARGUMENTS[name]) for name in names)]
    parameters += [_YES] if sure else []
    parameters.append(_AS_JSON)

    def made(described: Callable[[], None]) -> Callable[[], None]:
        _add(app, name, run, described.__doc__, parameters)
        return described

    return made


def load_settings(flags: Json, **more: Any) -> tuple[ServerSettings, Sources]:
    """Read the settings, and have what is logged go to stderr: stdout is for results alone.

    A command that finds no server opens the store itself, which may have something to say of it.
    """
    from relay_server import log
    from relay_server.settings import load

    settings, sources = load(**flags, **more)
    log.set_up(settings.log_format, settings.log_level, keep=False)
    return settings, sources


def print_json(result: Json) -> None:
    """Print a result as JSON, alone on its line."""
    text = json.dumps(result, ensure_ascii=False)
    # What a sender wrote must not steer a terminal, not even as JSON.
    Console.of_process().line(text if text.isprintable() else json.dumps(result))


def _work(ctx: typer.Context, do: Work) -> Json:
    """Do something with the API, of the server that runs or alone."""
    from relay_server.control import ApiRefused, run

    try:
        return run(*load_settings(ctx.obj), do)
    except ApiRefused as exc:
        exc.facts = (_as_given(ctx, str(exc)),)
        raise


def _as_given(ctx: typer.Context, problem: str) -> str:
    """What is wrong with a field of a request, `scopes[0]: …`, by its option: `--scope: …`."""
    field, colon, what = problem.partition(": ")
    name = field.partition("[")[0]
    for parameter in ctx.command.params:
        option = parameter.opts[0]
        if colon and parameter.name in (name, name.removesuffix("s")) and option.startswith("--"):
            return f"{option}: {what}"
    return problem


def _print(result: Json, show: Show, *, as_json: bool) -> None:
    if as_json:
        print_json(result)
    else:
        show(result)


def _add(
    app: typer.Typer,
    name: str,
    run: Callable[..., None],
    about: str | None,
    parameters: list[inspect.Parameter],
    *,
    filtering: bool = False,
) -> None:
    """Have an app run a function that is called with these parameters, as typer reads them."""
    # Not functools.wraps: what is wrapped would be asked for its types, and has others.
    keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
    run.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]
    run.__annotations__ = {}
    app.command(name, help=about, cls=Filtering if filtering else Command)(run)


def _parameter(
    name: str, annotation: Any, default: object = inspect.Parameter.empty
) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


_CONTEXT = _parameter("ctx", typer.Context)
_YES = _parameter("yes", Yes, default=False)
_AS_JSON = _parameter(
    "as_json", Annotated[bool, typer.Option("--json", help="Print JSON alone.")], default=False
)


def _options(table: list[Settable], emptying: bool) -> Iterator[inspect.Parameter]:
    for name, kind, setting, _default in table:
        if setting.help:
            decl = (setting.option,) if setting.option else ()
            option = typer.Option(*decl, help=setting.help, metavar=setting.metavar)
            yield _parameter(name, Annotated[_type(name, kind) | None, option], default=None)
        if setting.emptied is not None and emptying:
            option = typer.Option(setting.emptied[0], help=setting.emptied[1])
            yield _parameter(f"no_{name}", Annotated[bool, option], default=False)


def _type(name: str, kind: Any) -> Any:
    """The type of an option; the API checks which words may be."""
    if name in WORDED:
        return WORDED[name][0]
    plain = next(iter(get_args(kind)), kind)  # of `int | None`: int
    return str if issubclass(plain, enum.Enum) else plain


def _given(table: list[Settable], arguments: Json) -> Json:
    """Take the options of a table out of a command's arguments: what was given of them."""
    given: Json = {}
    for name, kind, setting, _default in table:
        # typer gives None, or an empty list, for an option that is left out.
        value, emptied = arguments.pop(name, None), arguments.pop(f"no_{name}", False)
        if setting.emptied is not None and emptied:
            given |= setting.emptied[2]
        elif value is None or value == []:
            continue
        elif name in WORDED:
            given[name] = WORDED[name][1](value)
        else:
            if isinstance(kind, type) and issubclass(kind, enum.Enum):
                value = value.lower()
            # Where the API takes null for no limit, people write 0.
            given[name] = (value or None) if type(None) in get_args(kind) else value
    return given
