"""Why a relay did not do what it was asked: the cause, and what to do about it.

Each function turns what came instead of an answer (an exception of a library, a status with a body,
a version) into an error or a sentence. All commands tell these; so do `connect` and `doctor`.
"""

from __future__ import annotations

import os
import re
import ssl

import msgspec

from relay_client import __version__
from relay_client.answers import UNREADABLE, Refused, Whoami
from relay_client.errors import (
    CHECK_URL,
    NOTHING_SELECTED,
    TOO_MANY_FAILURES,
    ClientError,
    NothingFound,
    RelayProblem,
    RelayUnreachable,
    TokenRefused,
)
from relay_http.tls import trusting_nobody
from relay_protocol.text import harmless
from relay_terminal.words import _

with trusting_nobody():  # each request is given the context of its relay
    import aiohttp

INVITATION = "invitation_"  # how the codes begin of what is wrong with one
READERS = frozenset({"subscribe", "admin"})  # scopes: with one of them events can be read
# What the relay calls a path, or a method of one, that it does not have.
_NO_ROUTE = ("not_found", "method_not_allowed")


def _hints() -> dict[str, str]:
    """What to do, by the relay's code: its own hints are for who has relay-server at hand."""
    return {
        "channel_not_found": _("relay-client channels lists those that the token may use."),
        "event_not_found": _("relay-client events lists those that are kept."),
        "subscription_not_found": _("relay-client status lists the subscriptions there are."),
        "replay_not_found": _("relay-client replays lists the replays there are."),
        "too_many_replays": _("Wait for one to end, or stop one: relay-client replays stop NUMBER"),
    }


def token_refused(text: str) -> TokenRefused:
    """A token that the relay does not know, or knows no longer."""
    hint = _("Check the token, or ask for a new one and run: relay-client login URL")
    return TokenRefused(text, hint)


def _let_pass() -> str:
    return _(
        "A proxy or login page before the relay must let /api/v1, /connect and /health/live pass."
    )


class NoSuchRoute(RelayProblem):
    """What answers is of Relay, and has not what was asked for."""


def unreachable(
    exc: aiohttp.ClientError | OSError | ValueError, url: str, within_s: float
) -> RelayUnreachable:
    """Why no answer came."""
    match exc:
        case aiohttp.ClientConnectorCertificateError(certificate_error=error):
            text, hint = certificate(error)
        case aiohttp.ClientConnectorSSLError(os_error=error):
            text, hint = no_tls(error)
        case ssl.SSLError():
            text, hint = no_tls(exc)
        case aiohttp.ClientConnectorDNSError():
            text, hint = _("its name is not known"), _("Check the URL and the network.")
        case aiohttp.ClientProxyConnectionError():
            text, hint = no_proxy(f"{exc.host}:{exc.port}")
        case aiohttp.ClientHttpProxyError():
            text, hint = proxy_refused(exc.status)
        case TimeoutError():
            text, hint = _("no answer within {within:.0f} s").format(within=within_s), CHECK_URL
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientResponseError() if url.startswith(
            "http:"
        ):
            text = _("what listens there speaks no HTTP")
            hint = _("If it speaks TLS, begin the URL with https://. Else check host and port.")
        case OSError(errno=int(number)):
            text, hint = os.strerror(number), CHECK_URL
        case _:
            text, hint = str(exc) or type(exc).__name__, CHECK_URL
    said = _("{url} cannot be reached: {reason}").format(url=url, reason=harmless(text))
    return RelayUnreachable(said, hint)


def no_proxy(place: str) -> tuple[str, str]:
    """What is said of a proxy that takes no connections, and what to do."""
    text = _("the proxy {place} does not take connections").format(place=place)
    return text, _("Check HTTPS_PROXY; NO_PROXY names what is reached without it.")


def proxy_refused(status: int) -> tuple[str, str]:
    """The same of one that does not let pass."""
    if status == 407:
        text = _("the proxy asks for a login (407)")
        return text, _("Name it in the variable: HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT")
    text = _("the proxy does not let pass ({status})").format(status=status)
    return text, _("Check HTTPS_PROXY; NO_PROXY names what is reached without it.")


def certificate(error: Exception) -> tuple[str, str]:
    """Why a certificate is not trusted, and what to do."""
    reason = getattr(error, "verify_message", "") or str(error)
    match getattr(error, "verify_code", 0):  # OpenSSL's, x509_vfy.h
        case 9 | 10:  # not yet valid, expired
            hint = _(
                "Renew it where TLS ends, at the relay or the proxy before it. If it is good, this"
                " machine's clock is wrong."
            )
        case 62 | 64:  # another host's, another address'
            hint = _("Give the URL with a name that the certificate is for.")
        case _:
            hint = _("For a private certificate give --ca-file.")
    return _("its certificate is not trusted: {reason}").format(reason=reason), hint


def no_tls(exc: OSError) -> tuple[str, str]:
    """Why no TLS came about, and what to do."""
    reason = getattr(exc, "reason", None)  # OpenSSL's; a copy of the error has none
    if reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"):
        hint = _("Begin the URL with http://, or give the port that speaks TLS.")
        return _("what listens there speaks no TLS"), hint
    text = _("TLS failed: {reason}").format(reason=reason or exc)
    return text, _("Check https or http in the URL.")


def refusal(status: int, content: bytes, url: str, server: str = "") -> ClientError:
    """Why something else came than what was asked for."""
    try:
        error = msgspec.json.decode(content, type=Refused).error
    except UNREADABLE:
        return _of_another(status, url, server)
    if error.code.startswith(INVITATION):
        return TokenRefused(harmless(error.message), harmless(error.hint or ""))
    if status == 401:
        return token_refused(_("the relay does not accept the token (401)"))
    if error.code == TOO_MANY_FAILURES:  # a good token is let in, however many were wrong
        return token_refused(_("the relay does not accept the token, like many before (429)"))
    text = _("the relay refused: {reason} ({status})")
    text = text.format(reason=harmless(error.message), status=status)
    hint = _hints().get(error.code) or harmless(error.hint or "")
    if error.code == NOTHING_SELECTED:
        return NothingFound(text, hint)
    kind = NoSuchRoute if error.code in _NO_ROUTE else RelayProblem
    return kind(text, hint, status=status)


def _of_another(status: int, url: str, server: str) -> RelayProblem | RelayUnreachable:
    """Why what answered cannot have been the relay itself, all of whose refusals are JSON."""
    who = _("a proxy, or another web server")
    if server:
        who = _("{who} ({name})").format(who=who, name=harmless(server, 40))
    if status in (502, 503, 504):
        text = _("{url} is not ready ({status}): {who} answers, and does not reach the relay")
        hint = _("See that the relay runs, and that the proxy's address for it is right.")
        return RelayUnreachable(text.format(url=url, status=status, who=who), hint)
    if 300 <= status < 400:
        text = _("{url} points elsewhere ({status}): {who} answers")
        hint = _("Redirects are not followed: give the final URL, often https://.")
        return RelayProblem(
            text.format(url=url, status=status, who=who), f"{hint} {_let_pass()}", status=status
        )
    if status in (401, 403):
        text = _("{url} asks for a login that is not the relay's ({status}): {who} answers")
        return RelayProblem(
            text.format(url=url, status=status, who=who), _let_pass(), status=status
        )
    text = _("{url} answered {status}: {who}, and no relay")
    hint = _("Check host and port in the URL, and the proxy's route to the relay.")
    return RelayProblem(text.format(url=url, status=status, who=who), hint, status=status)


def web_page(url: str) -> RelayProblem:
    """A page for people came where a relay answers in JSON."""
    text = _("a web page answers at {url}, and no relay: a login page, or another web server")
    return RelayProblem(text.format(url=url), f"{CHECK_URL} {_let_pass()}")


def ops_port(url: str) -> RelayProblem:
    """The relay's other port answers."""
    text = _("{url} is the relay's ops port, of health and metrics alone")
    hint = _("Give its public port: 8802, unless RELAY_SERVER_PORT says otherwise.")
    return RelayProblem(text.format(url=url), hint, status=404)


def too_old(server_version: str) -> RelayProblem:
    """The relay knows nothing of what was asked for."""
    text = _("this relay is older than this client ({version}, and not {ours}) and cannot do that")
    hint = _("Update the relay, or use a client of its version.")
    said = text.format(version=harmless(server_version, 40), ours=__version__)
    return RelayProblem(said, hint, status=404)


def scope_missing(me: Whoami) -> TokenRefused | None:
    """What keeps a good token from reading anything; None where nothing does."""
    if not READERS.isdisjoint(me.scopes):
        return None
    may = _(" and ").join(map(harmless, me.scopes))
    text = _("the token {name} may only {scopes}").format(name=harmless(me.name), scopes=may)
    return TokenRefused(text, _("Ask for one with the scope subscribe."))


def numbers(version: str) -> tuple[int, int, int] | None:
    """Read a version; None if it names no number, as one under development may."""
    found = re.match(r"(\d{1,9})\.(\d{1,9})(?:\.(\d{1,9}))?", version)
    return None if found is None else (int(found[1]), int(found[2]), int(found[3] or 0))


def is_older(server_version: str) -> bool:
    """True if the relay may lack what this client knows of."""
    ours, theirs = numbers(__version__), numbers(server_version)
    return ours is not None and theirs is not None and theirs[:2] < ours[:2]


def of_versions(server_version: str) -> str:
    """Say that the relay is of another version than this client; nothing where that matters not."""
    ours, theirs = numbers(__version__), numbers(server_version)
    if ours is None or theirs is None or ours[:2] == theirs[:2]:
        return ""
    if is_older(server_version):
        text = _(
            "the relay has version {version}, older than this client's {ours}: update it, or do"
            " without what it does not know"
        )
    else:
        text = _(
            "the relay has version {version}, newer than this client's {ours}: update the client"
            " for what is new"
        )
    return text.format(version=harmless(server_version, 40), ours=__version__)
