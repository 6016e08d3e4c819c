"""What a setting's value must be, where bounds do not say it: else `InvalidValue` is raised."""

from __future__ import annotations

import re
from ipaddress import ip_network

from relay_server.errors import InvalidValue
from relay_server.settables import Bounds
from relay_server.signing import SCHEMES

MAX_POINTER_CHARS = 256  # of a channel's `--key-pointer` or `--mask`; a longer one is refused
MAX_RETENTION_DAYS = 36_500  # `--retention-days`, `--dead-days`; more would not fit into the store
MAX_SECRET_CHARS = 1_024  # of an HMAC secret or an access token; a longer one is refused
MAX_CHATWOOT_CHARS = 256  # of a Chatwoot's address; a longer one is refused
MAX_RETRY_DELAYS = 32  # in `--retry-delays`; more are refused
MIN_RETRY_DELAY_S = 0.01  # of one of them; a shorter one is refused
MAX_RETRY_DELAY_S = 604_800.0  # 7 days, of one of them and of `--hold-s`; a longer one is refused
MAX_LIFETIMES = 16  # kinds in a channel's `--ttl`; more are refused
MIN_LIFETIME_S = 1.0  # of one of them; a shorter one is refused
MAX_LIFETIME_S = 2_592_000.0  # 30 days, of one of them; a longer one is refused
MAX_NOTE_CHARS = 1_000  # of `--away-note`; a longer one is refused
MAX_MASKS = 32  # of a channel; more are refused
MAX_SECRETS = 16  # of a channel's sender; more are refused
HMAC_SCHEMES = tuple(SCHEMES)

_CHATWOOT = re.compile(
    r"https?://[A-Za-z0-9._-]+(:[0-9]{1,5})?|https?://\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?"
)


def days(what: str) -> Bounds:
    refusal = f"{what} are kept for more than 0, up to {MAX_RETENTION_DAYS} days"
    return Bounds(0, MAX_RETENTION_DAYS, refusal, above=True)


def are_networks(networks: tuple[str, ...]) -> None:
    for network in networks:
        try:
            ip_network(network)
        except ValueError as exc:
            raise InvalidValue(f"{network!r} is no network such as 203.0.113.0/24") from exc


def is_pointer(pointer: str) -> None:
    if pointer and (not pointer.startswith("/") or len(pointer) > MAX_POINTER_CHARS):
        raise InvalidValue(f"{pointer!r} is no JSON pointer such as /conversation/id")


def are_masks(masks: tuple[str, ...]) -> None:
    if len(masks) > MAX_MASKS:
        raise InvalidValue(f"a channel masks up to {MAX_MASKS} fields")
    for mask in masks:
        if not mask.startswith("/") or len(mask) > MAX_POINTER_CHARS:
            raise InvalidValue(f"{mask!r} is no JSON pointer such as /sender/phone_number")


def is_scheme(scheme: str) -> None:
    if scheme and scheme not in HMAC_SCHEMES:
        raise InvalidValue(f"{scheme!r} is no signature scheme: {', '.join(HMAC_SCHEMES)}")


def are_secrets(secrets: list[str]) -> None:
    if len(secrets) > MAX_SECRETS:
        raise InvalidValue(f"there are at most {MAX_SECRETS} HMAC secrets, not {len(secrets)}")
    for secret in map(str.strip, secrets):
        if not secret:
            raise InvalidValue("an HMAC secret is empty")
        if len(secret) > MAX_SECRET_CHARS:
            raise InvalidValue(f"an HMAC secret has up to {MAX_SECRET_CHARS} characters")


def is_chatwoot(url: str) -> None:
    if url and (not _CHATWOOT.fullmatch(url) or len(url) > MAX_CHATWOOT_CHARS):
        raise InvalidValue(f"{url!r} is no address such as https://chat.example.com")


def is_secret(secret: str) -> None:
    if len(secret) > MAX_SECRET_CHARS:
        raise InvalidValue(f"a secret has up to {MAX_SECRET_CHARS} characters")


is_number = Bounds(0, 2**53, "Chatwoot's accounts, inboxes and bots have numbers from 1 on")


def are_delays(delays: tuple[float, ...]) -> None:
    if len(delays) > MAX_RETRY_DELAYS:
        raise InvalidValue(f"there are at most {MAX_RETRY_DELAYS} retry delays, not {len(delays)}")
    refusal = f"a retry delay is {MIN_RETRY_DELAY_S:g} s to 7 days: not {{value:g}}"
    for delay in delays:
        Bounds(MIN_RETRY_DELAY_S, MAX_RETRY_DELAY_S, refusal)(delay)


def are_lifetimes(lifetimes: tuple[tuple[str, float], ...]) -> None:
    if len(lifetimes) > MAX_LIFETIMES:
        raise InvalidValue(f"a channel has up to {MAX_LIFETIMES} times to live")
    refusal = f"a time to live is {MIN_LIFETIME_S:g} s to 30 days: not {{value:g}} s"
    for kind, lifetime_s in lifetimes:
        if not kind or "*" in kind[:-1]:
            raise InvalidValue(f"{kind!r} is no kind such as message_created, typing_* or *")
        Bounds(MIN_LIFETIME_S, MAX_LIFETIME_S, refusal)(lifetime_s)


def is_note(text: str) -> None:
    if len(text) > MAX_NOTE_CHARS:
        raise InvalidValue(f"a note has up to {MAX_NOTE_CHARS} characters")


is_team = Bounds(0, 2**53, "Chatwoot's teams and agents have numbers from 1 on; 0 is none")
