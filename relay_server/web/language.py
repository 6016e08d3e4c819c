"""Which language an answer speaks: what its reader chose, else what they say that they prefer."""

from __future__ import annotations

from aiohttp import web

ENGLISH = "en"
LANGUAGES = {ENGLISH: "English", "pt-BR": "Português"}  # each under its own name
COOKIE = "relay-language"
COOKIE_S = 365 * 86_400  # that a choice is kept
MAX_PREFERRED = 16  # languages of a browser that are looked at


def language_of(request: web.Request) -> str:
    """A language of `LANGUAGES`."""
    chosen = request.cookies.get(COOKIE, "")
    return chosen if chosen in LANGUAGES else preferred(request.headers.get("Accept-Language", ""))


def preferred(accepted: str) -> str:
    """The first of what an `Accept-Language` names that there is; English where there is none.

    Browsers name languages in the order in which they are preferred. Whoever reads any Portuguese
    gets that of Brazil.
    """
    for name in accepted.split(",")[:MAX_PREFERRED]:
        wanted = name.partition(";")[0].strip().partition("-")[0].lower()
        found = next((one for one in LANGUAGES if one.partition("-")[0] == wanted), None)
        if found is not None:
            return found
    return ENGLISH
