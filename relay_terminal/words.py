"""Every sentence that people read on a screen, in their language.

    line(_("{name} is paused").format(name=name))
    line(plural("{number} event", "{number} events", count))

A sentence is a constant template with named fields, in English: that is how the catalogue
(gettext, `locale/LANGUAGE/LC_MESSAGES/relay.mo`) has it. The language is the environment's; a
page's is that of its reader (`speak`). What programs read stays English: JSON, `--output plain`,
logs, and the API's errors.

A module's constants are made before it is known who reads: `N_` marks them, and they are translated
where they are shown, as are the hints of errors, and the helps of commands and options, which are
written as they are (`usage`).
"""

from __future__ import annotations

import functools
import gettext
import os
from contextvars import ContextVar
from pathlib import Path

LOCALE = Path(__file__).parent / "locale"
_VARIABLES = ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")  # the first that is set counts
_chosen: ContextVar[str] = ContextVar("_chosen", default="")


def _(text: str) -> str:
    """A sentence, or its template, in the user's language; as it is where there is none."""
    return catalogue().gettext(text) if text else ""


def N_(text: str) -> str:  # noqa: N802  (so it is called wherever there is gettext)
    """Mark a constant as a sentence, which `_` translates where it is shown."""
    return text


def plural(one: str, more: str, number: int) -> str:
    """A sentence about a number of things, with its field `{number}` filled: `10,001 events`.

    Other fields are still to be filled.
    """
    found = catalogue().ngettext(one, more, number)
    return found.replace("{number}", counted(number))


def counted(number: int) -> str:
    """A number as people write large ones, e.g. `10,001`."""
    # A translation's separator is that of its language: Portuguese writes 10.001.
    return f"{number:,}".replace(",", catalogue().pgettext("between thousands", ","))


def speak_english() -> None:
    """Translate nothing from here on: programs read it."""
    os.environ["LANGUAGE"] = "en"
    _catalogue.cache_clear()


def speak(language: str) -> None:
    """Have this task speak a language, e.g. `pt-BR`, whatever the environment asks for."""
    _chosen.set(language.replace("-", "_"))


def spoken() -> str:
    """The language that is spoken, as HTTP names it, e.g. `pt-BR`."""
    return catalogue().info().get("language", "en").replace("_", "-")


def catalogue() -> gettext.NullTranslations:
    """The sentences in the language that was chosen, or else the environment asks for."""
    return _catalogue(_chosen.get())


@functools.cache
def _catalogue(chosen: str) -> gettext.NullTranslations:
    wanted = [chosen] if chosen else languages()
    return gettext.translation("relay", LOCALE, wanted, fallback=True)


def languages() -> list[str]:
    """The user's languages, as they are preferred, until English, which needs no catalogue."""
    wanted = next(filter(None, map(os.environ.get, _VARIABLES)), "")
    found = list[str]()
    for name in wanted.split(":"):
        if name.partition(".")[0].lower() in ("", "c", "posix") or name.lower().startswith("en"):
            break
        found.append(name)
    return found
