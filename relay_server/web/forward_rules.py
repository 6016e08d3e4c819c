"""What a forward may be. Pure: whether its address is allowed is decided where it is connected."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

from relay_protocol.limits import WINDOW_DELIVERIES
from relay_server.errors import InvalidValue
from relay_server.values import ForwardConfig
from relay_server.web.capture import HOP_BY_HOP, OUR_FIELDS

MAX_URL_CHARS = 2_000
MAX_FORWARD_HEADERS = 16
MAX_HEADER_NAME_CHARS = 128
MAX_HEADER_VALUE_CHARS = 4_096
MAX_FORWARD_TIMEOUT_S = 3_600.0

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 §5.6.2
_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?")
_ITS_OWN = HOP_BY_HOP | {b"host", b"content-length"}  # the request's, whatever anybody sets


def check_forward(config: ForwardConfig) -> ForwardConfig:
    """Return a forward's configuration if it is possible; its headers' values are not looked at.

    Raises:
        InvalidValue: It is not.
    """
    _check_url(config.url)
    if not 0 < config.timeout_s <= MAX_FORWARD_TIMEOUT_S:
        raise InvalidValue(f"a forward waits for more than 0, up to {MAX_FORWARD_TIMEOUT_S:g} s")
    if not 1 <= config.concurrency <= WINDOW_DELIVERIES:
        raise InvalidValue(f"a forward has 1 to {WINDOW_DELIVERIES} requests open at once")
    return config


def check_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return header fields if they may be added to each request.

    Raises:
        InvalidValue: One may not; no value is told.
    """
    if len(headers) > MAX_FORWARD_HEADERS:
        raise InvalidValue(f"a forward adds at most {MAX_FORWARD_HEADERS} headers")
    if len({name.lower() for name in headers}) < len(headers):
        raise InvalidValue("a header is given twice")
    for name, value in headers.items():
        _check_name(name)
        if len(value) > MAX_HEADER_VALUE_CHARS or not _VALUE.fullmatch(value):
            limit = MAX_HEADER_VALUE_CHARS
            raise InvalidValue(f"the value of {name} is not one line of 1 to {limit} in ASCII")
    return headers


def _check_url(text: str) -> None:
    example = "such as http://bot:8001/webhook"
    if len(text) > MAX_URL_CHARS or not text.isascii() or not text.isprintable() or " " in text:
        raise InvalidValue(f"that is no URL {example}")
    url = _split(text)
    if url is None:
        raise InvalidValue(f"{text!r} is no URL {example}")
    if url.username is not None or url.password is not None:
        raise InvalidValue("a URL holds no secrets: give the target an Authorization header")
    if "?" in text or "#" in text:
        raise InvalidValue("a forward's URL ends with its path: it has no query and no fragment")


def _split(text: str) -> SplitResult | None:
    try:
        url = urlsplit(text)
        known = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:  # a port or an IPv6 address that cannot be
        return None
    return url if known else None


def _check_name(name: str) -> None:
    if len(name) > MAX_HEADER_NAME_CHARS or not _TOKEN.fullmatch(name):
        raise InvalidValue(f"{name!r} is no header's name")
    lower = name.lower().encode()
    if lower in _ITS_OWN or lower.startswith(OUR_FIELDS):
        raise InvalidValue(f"the header {name} is not for a forward to set")
