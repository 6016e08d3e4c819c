"""How commands are written down and explained: options, helps, and what is wrong with a line.

typer reads options from a function's signature, and parses a line. What a person sees of it is made
here, in plain text of the screen's width and in their language. A help is written as it is, at its
option or function: it is translated when it is shown.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from inspect import cleandoc
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from relay_protocol.text import harmless, plainly
from relay_terminal.console import Console
from relay_terminal.layout import padded, width, wrapped
from relay_terminal.words import N_, _

_WIDEST = 100  # cells of a help: longer lines are hard to read
_NAMES_SHARE = 0.4  # of a help's line
_LEFT_OUT = re.compile(r"-[^-0-9]..")  # a filter's word behind a dash: what it leaves out
_HELP_NAMES = {"help_option_names": ["-h", "--help"]}

WrongUsage: type[Any] = typer.BadParameter.__mro__[1]  # what typer raises of a line that is wrong


class Old(str):
    """A spelling of an option that works, and that no help shows any more."""

    __slots__ = ()


class _Reader:
    """Reads the value of an option as those of settings are.

    Typer would load pydantic for it: 10 MiB for as long as the command runs, and 50 ms at once.
    """

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Make what is meant of what is written."""
        if value is None:
            return () if param.multiple or param.nargs == -1 else None
        import msgspec

        from relay_terminal.values import read

        kind, said = param.type_descriptor.annotation, param.type_descriptor.parameter_info
        try:
            return read(value, kind, msgspec.Meta(ge=said.min, le=said.max), _)
        except ValueError as exc:
            raise typer.BadParameter(str(exc), ctx=ctx, param=param) from exc


def _read_here(parameters: list[Any]) -> list[Any]:
    for one in parameters:
        one.get_runtime_param = _Reader  # typer asks this for what makes a value of a text
    return parameters


class Command(TyperCommand):
    """A command whose help is laid out, and whose values are read, here."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its options and arguments, `--help` among them."""
        return _read_here(super().get_params(ctx))

    def get_help(self, ctx: Any) -> str:
        """Its help, whole."""
        return "\n".join(_help(self, ctx))


class Filtering(Command):
    """A command that takes a filter: `-is:private` is a word of that, and no option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read its options, and take what only looks like one for what it is."""
        known = {name for one in self.get_params(ctx) for name in one.opts}
        # No argument of a process has NUL, so that it marks what is none of its options.
        marked = [f"\0{one}" if one not in known and _LEFT_OUT.match(one) else one for one in args]
        rest = super().parse_args(ctx, marked)
        ctx.params = {name: _unmarked(value) for name, value in ctx.params.items()}
        return rest


def _unmarked(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_unmarked(one) for one in value]
    return value.removeprefix("\0") if isinstance(value, str) else value


def _complete(ctx: Any, _: Any, value: Any) -> None:
    """Typer's options are the command `completion` now, which asks no process for its shell."""
    if value and not ctx.resilient_parsing:
        shell = [value] if isinstance(value, str) else []
        ctx.command.commands["completion"].main(shell, standalone_mode=False)
        ctx.exit()


class Commands(TyperGroup):
    """A group of commands; alone it shows its help, as one asks for it."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its options and arguments, `--help` among them."""
        return _read_here(super().get_params(ctx))

    def get_help(self, ctx: Any) -> str:
        """Its help, with a line a command."""
        return "\n".join(_help(self, ctx))

    def make_context(self, *args: Any, **more: Any) -> Any:
        """All below have `-h`, too."""
        return super().make_context(*args, **(_HELP_NAMES | more))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read its options; where there is nothing, show its help."""
        if not args and self.no_args_is_help and not ctx.resilient_parsing:
            typer.echo(self.get_help(ctx))
            ctx.exit()
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that is meant."""
        name = args[0]
        if name not in self.commands and not name.startswith("-") and not ctx.resilient_parsing:
            shown = [known for known, one in self.commands.items() if not one.hidden]
            ctx.fail(_("there is no command {name}").format(name=name) + _near(name, shown))
        return super().resolve_command(ctx, args)


class Listing(Commands):
    """Commands on things of one kind: where none is named, they are listed."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read what stands behind the noun."""
        help_names = ctx.help_option_names
        if not args or (args[0].startswith("-") and args[0] not in help_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)


class App(typer.Typer):
    """A program, or a group of its commands."""

    def __init__(
        self, about: str = "", *, cls: type[Commands] = Commands, completes: bool = False
    ) -> None:
        super().__init__(
            cls=cls,
            help=about,
            no_args_is_help=True,
            add_completion=completes,
            rich_markup_mode=None,
            pretty_exceptions_enable=False,  # errors are told where the program ends
        )

    def command(self, name: str | None = None, **more: Any) -> Callable[[Any], Any]:
        """As typer's."""
        return super().command(name, **({"cls": Command} | more))


@functools.cache
def made(app: typer.Typer) -> Any:
    """All its commands, as typer makes them of their functions' signatures: tens of ms of work."""
    command: Any = typer.main.get_command(app)
    for one in command.params:  # typer's own are old, and write no more into users' files
        if one.name in ("install_completion", "show_completion"):
            one.hidden, one.callback = True, _complete
    return command


def told(error: Any) -> tuple[str, str]:
    """What is wrong with a line, and where to read on, of what typer raised."""
    context = getattr(error, "ctx", None)
    hint = ""
    if context is not None:
        hint = _("{command} --help says what it takes.").format(command=context.command_path)
    return harmless(_wrong(error), 1_000), hint


def spelled(parameter: Any) -> str:
    """An option or argument as it is shown: `--to HOST:PORT`, `--wait/--no-wait`, `[FILTER]...`."""
    if parameter.param_type_name == "argument":
        name = str(parameter.metavar or parameter.name).upper().strip("[]….")
        shown = name if parameter.required else f"[{name}]"
        return shown if parameter.nargs == 1 else f"{shown}..."
    names = sorted(_shown(parameter.opts), key=lambda name: name.startswith("--"))
    shown = "/".join(filter(None, [", ".join(names), *_shown(parameter.secondary_opts)]))
    return shown if parameter.is_flag else f"{shown} {_value(parameter)}"


def is_shown(parameter: Any) -> bool:
    """It has a help, and is no old way to say something."""
    return bool(parameter.help) and not parameter.hidden


def paragraphs(command: Any) -> list[str]:
    """What a command's help says, the first of them in a few words, each in one line."""
    return [text.replace("\n", " ") for text in cleandoc(command.help or "").split("\n\n")]


def _help(command: Any, context: Any) -> Iterator[str]:
    cells = min(Console.of_process().cells or _WIDEST, _WIDEST)
    parameters = [one for one in command.get_params(context) if is_shown(one)]
    options = [one for one in parameters if one.param_type_name == "option"]
    arguments = [one for one in parameters if one.param_type_name == "argument"]
    commands = {
        name: one for name, one in getattr(command, "commands", {}).items() if not one.hidden
    }
    usage = [context.command_path, *(["[OPTIONS]"] if options else []), *map(spelled, arguments)]
    usage += ["COMMAND ..."] if commands else []
    yield from wrapped(_("Usage: {line}").format(line=" ".join(usage)), cells, 2)
    for paragraph in paragraphs(command):
        yield from ("", *wrapped(_(paragraph), cells))
    rows = [(spelled(one), _about(one)) for one in arguments]
    yield from _section(_("Arguments:"), rows, cells)
    rows = [(name, _(paragraphs(one)[0])) for name, one in commands.items()]
    yield from _section(_("Commands:"), rows, cells)
    yield from _section(_("Options:"), [(spelled(one), _about(one)) for one in options], cells)


def _section(title: str, rows: list[tuple[str, str]], cells: int) -> Iterator[str]:
    """A title, and names with what they mean; a long name has a line of its own."""
    if not rows:
        return
    yield from ("", title)
    wide = [width(name) + 4 for name, _about in rows]
    before = max((one for one in wide if one <= cells * _NAMES_SHARE), default=8)
    for name, about in rows:
        head = f"  {name}"
        if width(head) + 2 > before:
            yield head
            head = ""
        for line in wrapped(about, cells - before):
            yield padded(head, before) + line
            head = ""


def _about(parameter: Any) -> str:
    about = _(parameter.help)
    if parameter.required and parameter.param_type_name == "option":
        about += " " + _("(must be given)")
    return about


def _value(parameter: Any) -> str:
    """What an option takes."""
    if parameter.metavar:
        return str(parameter.metavar)
    kind = parameter.type_descriptor
    if kind.choices:
        return "|".join(str(choice) for choice in kind.choices)
    if "Path" in str(kind.annotation):
        return "FILE"
    if kind.annotation in (int, float):
        return "N"
    return max(_shown(parameter.opts), key=len).lstrip("-").upper().replace("-", "_")


def _shown(names: Iterable[str]) -> list[str]:
    return [str(name) for name in names if not isinstance(name, Old)]


def _wrong(error: Any) -> str:
    """What is wrong with a line; every kind of it that typer knows, in our words."""
    parameter = getattr(error, "param", None)
    if parameter is not None:
        name = spelled(parameter).partition(" ")[0].strip("[].")
        if not error.message:
            return _("{name} must be given").format(name=name)
        return f"{name}: {plainly(error.message, _)}"
    near = _near(getattr(error, "option_name", ""), getattr(error, "possibilities", None) or ())
    for typers, ours in TYPERS_WORDS.items():
        if found := re.fullmatch(typers, error.message):
            return _(ours).format(**found.groupdict()) + near
    return str(error.message)


def _near(name: str, known: Iterable[str]) -> str:
    bare = {one.lstrip("-"): one for one in known}  # dashes, which all have, make none alike
    found = get_close_matches(name.lstrip("-"), bare, 1)
    return _(". Did you mean {name}?").format(name=bare[found[0]]) if found else ""


HELP = N_("Show this message and exit.")  # of --help, in typer's words
# What typer says of a line, and what we do.
TYPERS_WORDS = {
    r"No such option:? '?(?P<name>[^ ']+)'?.*": N_("there is no option {name}"),
    r"Option '?(?P<name>[^ ']+)'? requires .*": N_("{name} needs a value"),
    r"Option '?(?P<name>[^ ']+)'? does not take a value\.": N_("{name} takes no value"),
    r"Got unexpected extra argument.*? \((?P<name>.*)\)": N_("{name} is more than it takes"),
}
