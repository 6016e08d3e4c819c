"""A setting written down once: its type, help and bounds, and what is made of that.

A config is a struct. Each of its fields that operators set is

    name: Annotated[its type, Setting(help, …), its check] = its default

    ├─ `changes_of` below     what a request may set, under the field's name
    ├─ `check` below          what is refused, and how that is said
    ├─ operations/            the JSON of what is set
    └─ cli/command.py         the option, under the field's name or `option`
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from relay_server.errors import InvalidValue


@dataclass(frozen=True, slots=True)
class Setting:
    """A field that operators set.

    Attributes:
        help: Of the command's option; without it there is none.
        option: How the command spells it, where that is not the field's name.
        metavar: What the command's help calls its value, where that is not its type.
        given: What a request gives, where it is not the field's own type.
        emptied: A command's option that empties it, that option's help, and what it then gives.
        parts: The config that it consists of; requests and commands set its fields one by one.
    """

    help: str = ""
    option: str = ""
    metavar: str | None = None
    given: Any = None
    emptied: tuple[str, str, Mapping[str, Any]] | None = None
    parts: type[msgspec.Struct] | None = None


@dataclass(frozen=True, slots=True)
class Bounds:
    """The check of a number: both bounds included, unless it must lie above the lower one."""

    low: float
    high: float
    refusal: str
    above: bool = False

    def __call__(self, value: float) -> None:
        fits = self.low < value if self.above else self.low <= value
        if not fits or not value <= self.high:  # also what is no number
            raise InvalidValue(self.refusal.format(value=value))


class Settable(NamedTuple):
    """A setting of a config: its name and type, what it is, and what checks a value of it."""

    name: str
    type: Any
    setting: Setting
    check: Callable[[Any], None] | None = None


def settings_of(config: type[msgspec.Struct]) -> Iterator[Settable]:
    """Each field that operators set, and before it its parts.

    A part's name begins with the whole's: `hmac_secrets`.
    """
    for field in msgspec.structs.fields(config):
        setting, *checks = getattr(field.type, "__metadata__", (None,))
        if setting is None:
            continue
        for part in settings_of(setting.parts) if setting.parts else ():
            yield part._replace(name=f"{field.name}_{part.name}")
        yield Settable(field.name, field.type.__origin__, setting, *checks)


def check(config: type[msgspec.Struct], values: Mapping[str, Any]) -> None:
    """Raise `InvalidValue` if a value that is set is not possible; other names are let through."""
    for settable in settings_of(config):
        value = values.get(settable.name)
        if settable.check is not None and value is not None:
            settable.check(value)


class Changes(msgspec.Struct, forbid_unknown_fields=True):
    """What a request sets of a config; what it leaves out stays as it is."""

    def given(self) -> dict[str, Any]:
        """The fields that were set, by name."""
        values = msgspec.structs.asdict(self)
        return {
            name: value.given() if isinstance(value, Changes) else value
            for name, value in values.items()
            if value is not msgspec.UNSET
        }


def changes_of(
    as_name: str, *configs: type[msgspec.Struct], optional: bool = False, **more: Any
) -> type[Changes]:
    """Make the type of a request that sets configs, and `more`; to None, too, where `optional`."""
    found = {
        one.name: one.setting.given or one.type
        for config in configs
        for one in settings_of(config)
        if one.setting.parts is None
    }
    if optional:
        found = {name: kind | None for name, kind in found.items()}
    # Unset, not None, is what was left out: null is a value, such as for no limit.
    fields: list[tuple[str, Any, Any]] = [
        (name, kind | msgspec.UnsetType, msgspec.UNSET) for name, kind in (found | more).items()
    ]
    return msgspec.defstruct(as_name, fields, bases=(Changes,))  # type: ignore[return-value]
