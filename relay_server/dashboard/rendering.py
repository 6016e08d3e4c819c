"""Pages from templates, and how values look in them.

Everything is escaped where it is put in; what strangers wrote stands in a `<bdi>`, with control
characters shown as marks, so that it can neither become markup nor turn its neighbours around.
"""

from __future__ import annotations

import functools
import json
import re
import shlex
import unicodedata
from collections.abc import Container, Iterable, Iterator, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from aiohttp import web

from relay_server.dashboard.answers import text_said
from relay_server.dashboard.assets import assets, sentences
from relay_server.filters.facts import fold
from relay_server.filters.language import Value
from relay_server.operations.events import DeliveryLine
from relay_server.web.context import CONTEXT
from relay_server.web.language import ENGLISH, LANGUAGES, language_of
from relay_terminal.retold import retold
from relay_terminal.states import outcome_of, state_of
from relay_terminal.words import _, catalogue, counted, plural

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

FOLDER = Path(__file__).parent
# What of markup leads to a path of ours. Quotes of text are escaped: only markup matches.
LINK = re.compile(r'( (?:href|action|formaction|src)=")/')
THEMES = ("light", "dark")
THEME_COOKIE = "relay-theme"
DENSITY_COOKIE = "relay-density"
COMPACT = "compact"
# What turns text around or hides in it (Unicode TR 9, TR 36): shown as a mark.
UNSEEN = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u061c\ufeff")
# In this order: most browsers call themselves by the names of others, too.
BROWSERS = ("Edg", "OPR", "Firefox", "Chrome", "Safari")
SYSTEMS = ("Android", "iPhone", "iPad", "Windows", "Macintosh", "Linux")
NEWLINE = "\n\t"
PIECE = re.compile(r"\w+|\W+")
DAY_MS = 86_400_000
MAX_SENTENCES = 2_048  # that are kept as markup: the templates have a few hundred, in each language
# A path cannot hold what browsers and proxies take out of one. `row.js` has the same rule.
UNHOLDABLE = re.compile(r"(?:^|/)\.{0,2}(?:/|$)")

# When the page is made that is being made: macros of another file know nothing of its values.
_now = ContextVar("now", default=0)


def render(
    request: web.Request, template: str, *, status: int = 200, **values: object
) -> web.Response:
    """A page; its links lead below the public URL's path.

    Args:
        request: That it answers.
        template: Its file.
        status: Of the answer.
        values: What the template shows.
    """
    language, theme = language_of(request), request.cookies.get(THEME_COOKIE, "")
    now = request.app[CONTEXT].clock.unix_ms()
    _now.set(now)
    common = {
        "now": now,
        "theme": theme if theme in THEMES else "",
        "density": COMPACT if request.cookies.get(DENSITY_COOKIE) == COMPACT else "",
        "path": request.path,
        "language": language,
        "other_languages": [one for one in LANGUAGES.items() if one[0] != language],
        "here": request.path_qs if request.method == "GET" else "/",
        "script_words": "" if language == ENGLISH else json.dumps({s: _(s) for s in sentences()}),
        "visitor": None,
    }
    text = templates().get_template(template).render(common | values)
    if base := request.app[CONTEXT].settings.dashboard_path:
        text = LINK.sub(rf"\g<1>{base}/", text)
    return web.Response(status=status, text=text, content_type="text/html")


@functools.cache
def templates() -> Environment:
    """The templates; imported and read when the first page is asked for."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.globals["asset"] = lambda name: assets().url(name)
    made.globals |= {"_": _filled, "plural": plural, "talk_path": talk_path, "pieces": pieces}
    made.filters |= {
        "clock": clock,
        "own_first": own_first,
        "moment": moment,
        "span": span,
        "lasting": lasting,
        "speaker": speaker,
        "size": size,
        "rate": rate,
        "shown": shown,
        "quoted": shlex.quote,
        "browser": browser,
        "retold": retold,
        "text_said": text_said,
        "outcome": outcome_of,
        "state_word": functools.partial(state_of, attempt=1),
        "number": counted,
    }
    return made


def _filled(text: str, /, **fields: object) -> Markup:
    """A sentence in the page's language: it is text, and so are fields that are no markup yet."""
    said = _escaped(catalogue(), text)
    return said.format(**fields) if fields else said


@functools.lru_cache(MAX_SENTENCES)
def _escaped(_catalogue: object, text: str) -> Markup:
    """A sentence of the catalogue that is spoken, as markup: a page of a list says some 800."""
    from markupsafe import escape

    return escape(_(text))


def talk_path(channel: str, key: str) -> str:
    """Where a conversation's page is, whatever its key holds."""
    at = f"/conversations/{channel}"
    held = UNHOLDABLE.search(key) is None
    return f"{at}/{quote(key)}" if held else f"{at}?{urlencode({'key': key})}"


def clock(unix_ms: int) -> str:
    """A time of day, UTC, with its date where that is another day's; a script has the rest.

    It shows times in the reader's own zone, by the same rule.
    """
    ago_ms = _now.get() - unix_ms
    is_near = -DAY_MS / 2 < ago_ms < DAY_MS
    return _utc(unix_ms).strftime("%H:%M:%S" if is_near else "%Y-%m-%d %H:%M:%S")


def moment(unix_ms: int) -> str:
    """A time as `<time datetime>` takes it."""
    return _utc(unix_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def span(ms: int) -> str:
    """How long, roughly: `12 s`, `5 min`, `3 h`, `2 d`."""
    for unit, length in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000)):
        if ms >= length:
            return f"{ms // length} {unit}"
    return f"{max(ms, 0) // 1_000} s"


def pieces(text: str, words: Sequence[Value]) -> Iterator[tuple[str, bool]]:
    """A text in pieces, each with whether it is one of some words, which are folded."""
    for piece in PIECE.findall(text):
        folded = fold(piece)
        yield piece, bool(folded) and any(word.fits(folded) for word in words)


def own_first(deliveries: Iterable[DeliveryLine], mine: Container[str]) -> list[DeliveryLine]:
    """Deliveries to subscriptions of one's own before those to others; replays behind both."""
    return sorted(deliveries, key=lambda one: (bool(one.replay), one.subscription not in mine))


def lasting(ms: int) -> str:
    """How long, closely: `340 ms`, `2.1 s`; from a minute on roughly."""
    if ms < 1_000:
        return f"{max(ms, 0)} ms"
    return f"{ms / 1_000:.1f} s" if ms < 60_000 else span(ms)


def rate(per_s: float) -> str:
    """How many a second: `0.3`, `12`."""
    if per_s < 0.1:
        return "< 0.1"
    return f"{per_s:.1f}" if per_s < 10 else f"{per_s:.0f}"


def size(number: int) -> str:
    """Bytes: `812 B`, `5.1 KB`, `1.2 MB`."""
    for unit, factor in (("MB", 1_000_000), ("KB", 1_000)):
        if number >= factor:
            return f"{number / factor:.1f} {unit}"
    return f"{number} B"


def browser(agent: str) -> str:
    """A browser by its name and system, as `User-Agent` has them: `Firefox · Linux`."""
    named = (one for one in BROWSERS if f"{one}/" in agent)
    system = (one for one in SYSTEMS if one in agent)
    return " · ".join(filter(None, (next(named, ""), next(system, "")))) or agent


def shown(text: object) -> str:
    """Text of a stranger's, with a mark for each character that cannot be seen."""
    found = str(text)
    return found if found.isprintable() else "".join(_marks(found))


def speaker(direction: str) -> str:
    """Who said something, in the page's language."""
    known = {
        "customer": _("customer"),
        "bot": _("bot"),
        "agent": _("agent"),
        "system": _("system"),
    }
    return known.get(direction, direction)


def _marks(text: str) -> Iterator[str]:
    for char in text:
        if char in NEWLINE or (char.isprintable() and char not in UNSEEN):
            yield char
        elif char < " ":
            yield chr(0x2400 + ord(char))  # the control pictures
        elif char in UNSEEN or unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            yield f"⟨U+{ord(char):04X}⟩"
        else:
            yield char


def _utc(unix_ms: int) -> datetime:
    return datetime.fromtimestamp(unix_ms / 1_000, UTC)
