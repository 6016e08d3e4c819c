"""Twilio's scheme, the only one that covers the URL: by it, and the fields of a form.

A body that is no form is covered by its SHA-256, which is in the URL. The URL is that at which the
sender asked, whatever a proxy made of it; Twilio's own libraries take it with a port and without.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from urllib.parse import parse_qsl

from relay_server.errors import Unauthorized
from relay_server.signing.scheme import Claim, Request, Scheme, needed

MAX_FORM_FIELDS = 1_000  # of a form that Twilio signed; more: 401
BODY_DIGEST = "bodySHA256"  # of the query
FORM = b"application/x-www-form-urlencoded"
# Names the algorithm, where a webhook rule of the account says which; else it is HMAC-SHA1.
SETTINGS = b"x-twilio-webhooks-signature-settings"

_AUTHORITY = re.compile(r"(?P<scheme>https?)://(?P<host>\[[^]]*\]|[^/?#:]*)(?P<port>:\d+)?")


class Twilio(Scheme):
    """Base64 of an HMAC over URL and form; the key is an account's auth token, or a rule's."""

    header = b"X-Twilio-Signature"

    @property
    def covers_url(self) -> bool:
        return True

    def read(self, request: Request) -> Claim:
        given = needed(request, self.header)
        if request.body and not _is_form(request):
            query = dict(_fields(request.url.partition("?")[2]))
            if BODY_DIGEST not in query:
                raise Unauthorized("no bodySHA256 in the URL, so the body is not signed")
            if query[BODY_DIGEST] != hashlib.sha256(request.body).hexdigest():  # no secret
                raise Unauthorized("bodySHA256 is another body's")
        return Claim((given,))

    def make(self, key: bytes, claim: Claim, request: Request) -> tuple[bytes, ...]:
        algorithm = "sha256" if b"HMAC_SHA256" in request.value(SETTINGS).upper() else "sha1"
        form = _form(request)
        return tuple(
            base64.b64encode(hmac.digest(key, url + form, algorithm))
            for url in _spellings(request.url)
        )


def digest_in_query(body: bytes) -> str:
    """What the query has of a body that is no form, so that what signs the URL covers it."""
    return f"{BODY_DIGEST}={hashlib.sha256(body).hexdigest()}"


def _is_form(request: Request) -> bool:
    return request.value(b"content-type").lower().startswith(FORM)


def _form(request: Request) -> bytes:
    """The fields of a form, in order of their names, each name followed by its value."""
    if not _is_form(request):
        return b""
    try:
        pairs = _fields(request.body.decode("ascii"))
    except UnicodeDecodeError as exc:
        raise Unauthorized("the form cannot be read") from exc
    text = "".join(name + value for name, value in sorted(set(pairs)))
    return text.encode(errors="surrogateescape")


def _fields(text: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            text, keep_blank_values=True, errors="surrogateescape", max_num_fields=MAX_FORM_FIELDS
        )
    except ValueError as exc:
        raise Unauthorized("the form has too many fields") from exc


def _spellings(url: str) -> list[bytes]:
    """A URL as it was asked for, without a port, and with one."""
    found = _AUTHORITY.match(url)
    if found is None:
        return [url.encode(errors="surrogateescape")]
    rest, begin = url[found.end() :], f"{found['scheme']}://{found['host']}"
    port = found["port"] or (":443" if found["scheme"] == "https" else ":80")
    spellings = dict.fromkeys((url, begin + rest, begin + port + rest))
    return [one.encode(errors="surrogateescape") for one in spellings]
