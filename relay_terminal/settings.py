"""What the settings of both programs have in common: how they are declared, and read.

A class of settings is a frozen dataclass: a field has a setting's type, bounds and meaning. What
these cannot say, `CHECKS` has, and what holds of several together, `__post_init__`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, Self, get_origin, get_type_hints

import msgspec

from relay_terminal.values import present, read
from relay_terminal.words import N_

_META = "meta"


def setting(default: Any = dataclasses.MISSING, **more: Any) -> Any:
    """A field of settings.

    Args:
        default: Its value where none is given; `default_factory` makes one that takes work.
        more: What `msgspec.Meta` takes: `description`, and of a number its bounds.
    """
    factory = more.pop("default_factory", dataclasses.MISSING)
    meta = {_META: msgspec.Meta(**more)}
    return dataclasses.field(default=default, default_factory=factory, metadata=meta)


class Impossible(ValueError):
    """Settings cannot be what they are given as.

    Attributes:
        problems: Of each that is wrong its name and why; no name for what is wrong with several.
    """

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{name}: {why}" for name, why in problems))
        self.problems = problems


class Setting(NamedTuple):
    """How one is declared.

    Attributes:
        kind: The type of its value, where it has one.
        meta: Its bounds and its description.
        default: None where it depends on the machine.
    """

    kind: Any
    meta: msgspec.Meta
    default: object


class Settings:
    """What a class of settings has.

    Attributes:
        CHECKS: By setting what makes its value of one that is right by its type, or raises a
            ValueError. Of a list that is each entry, which is a text.
    """

    CHECKS: ClassVar[Mapping[str, Callable[[Any], object]]] = {}

    @classmethod
    @functools.cache
    def declared(cls) -> dict[str, Setting]:
        """All of them, by name."""
        kinds, found = get_type_hints(cls), dict[str, Setting]()
        for one in dataclasses.fields(cls):  # type: ignore[arg-type]
            default = None if one.default is dataclasses.MISSING else one.default
            found[one.name] = Setting(present(kinds[one.name]), one.metadata[_META], default)
        return found

    @classmethod
    def read(cls, values: Mapping[str, object]) -> Self:
        """Make them of values as they were written.

        Raises:
            Impossible: Some are unknown, wrong, or do not go together.
        """
        found, problems, declared = dict[str, Any](), list[tuple[str, str]](), cls.declared()
        for name, one in declared.items():
            if name in values:
                try:
                    found[name] = _value(values[name], one, cls.CHECKS.get(name))
                except ValueError as exc:
                    problems.append((name, str(exc)))
        problems += [(name, N_("is not known")) for name in values if name not in declared]
        if problems:
            raise Impossible(problems)
        try:
            return cls(**found)
        except ValueError as exc:
            raise Impossible([("", str(exc))]) from exc


def of_environment(
    settings: type[Settings], prefix: str, environment: Mapping[str, str]
) -> dict[str, object]:
    """The variables that are settings, by the setting's name; upper and lower case are the same."""
    by_name = {variable.upper(): value for variable, value in environment.items()}
    variables = {name: prefix + name.upper() for name in settings.declared()}
    return {name: by_name[one] for name, one in variables.items() if one in by_name}


def _value(written: object, one: Setting, check: Callable[[Any], object] | None) -> object:
    if written is None:
        return None
    if get_origin(one.kind) is tuple:
        entries = read(_entries(written), tuple[str, ...])
        return tuple(map(check, entries)) if check else entries
    value = read(written, one.kind, one.meta)
    return check(value) if check else value


def _entries(written: object) -> object:
    """A list as a variable has it, with commas, or as TOML has it; without empty entries."""
    if isinstance(written, str):
        written = written.split(",")
    if not isinstance(written, list | tuple) or not all(isinstance(one, str) for one in written):
        return written  # the message says what it must be
    return tuple(entry for one in written if (entry := one.strip()))
