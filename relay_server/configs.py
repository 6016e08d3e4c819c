"""The settings of channels, subscriptions and forwards, and of how they deliver.

Each `Setting` below is the one place where it is written down: `settables` says what is made of it.
So a new setting is one line here, and its use. What is stored is read without the checks: a store
may hold what an older version allowed.
"""

from __future__ import annotations

import enum
import re
from ipaddress import ip_network
from typing import Annotated

import msgspec

from relay_protocol.limits import MAX_BODY_BYTES, WINDOW_DELIVERIES
from relay_server.errors import InvalidValue
from relay_server.settables import Bounds, Setting
from relay_server.signing import SCHEMES

MAX_POINTER_CHARS = 256  # of a channel's `--key-pointer` or `--mask`; a longer one is refused
MIN_RATE_PER_S = 0.001  # of a channel's `--rate-per-s`; a lower one is refused
MAX_RATE_PER_S = 1_000_000  # the same, and a higher one
MAX_DEDUPE_WINDOW_S = 604_800.0  # 7 days, of `--dedupe-window-s`; a longer one is refused
MAX_RETENTION_DAYS = 36_500  # `--retention-days`, `--dead-days`; more would not fit into the store
MAX_CHANNEL_BYTES = 1_125_899_906_842_624  # 1 PiB; a larger `--max-bytes` is refused
MAX_SECRET_CHARS = 1_024  # of an HMAC secret or an access token; a longer one is refused
MAX_CHATWOOT_CHARS = 256  # of a Chatwoot's address; a longer one is refused
MAX_RETRY_DELAYS = 32  # in `--retry-delays`; more are refused
MIN_RETRY_DELAY_S = 0.01  # of one of them; a shorter one is refused
MAX_RETRY_DELAY_S = 604_800.0  # 7 days, of one of them and of `--hold-s`; a longer one is refused
MAX_TRIES = 100  # `--other-tries` and `--hold-failures`; more are refused
MAX_TIMEOUT_S = 3_600.0  # of a forward's `--timeout`; a longer one is refused
MAX_LIFETIMES = 16  # kinds in a channel's `--ttl`; more are refused
MIN_LIFETIME_S = 1.0  # of one of them; a shorter one is refused
MAX_LIFETIME_S = 2_592_000.0  # 30 days, of one of them; a longer one is refused
MIN_AWAY_S = 1.0  # of `--refuse-after` and `--away-after`; a shorter one is refused
MAX_AWAY_S = 86_400.0  # 1 day, of one of them; a longer one is refused
MAX_NOTE_CHARS = 1_000  # of `--away-note`; a longer one is refused
MAX_HEADERS = 32  # that a forward adds; more are refused
MAX_HEADER_BYTES = 8_190  # of the name or value of one; a longer one is refused
MAX_MASKS = 32  # of a channel; more are refused
MAX_SECRETS = 16  # of a channel's sender; more are refused
HMAC_SCHEMES = tuple(SCHEMES)

_CHATWOOT = re.compile(
    r"https?://[A-Za-z0-9._-]+(:[0-9]{1,5})?|https?://\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?"
)


def _days(what: str) -> Bounds:
    refusal = f"{what} are kept for more than 0, up to {MAX_RETENTION_DAYS} days"
    return Bounds(0, MAX_RETENTION_DAYS, refusal, above=True)


def _are_networks(networks: tuple[str, ...]) -> None:
    for network in networks:
        try:
            ip_network(network)
        except ValueError as exc:
            raise InvalidValue(f"{network!r} is no network such as 203.0.113.0/24") from exc


def _is_pointer(pointer: str) -> None:
    if pointer and (not pointer.startswith("/") or len(pointer) > MAX_POINTER_CHARS):
        raise InvalidValue(f"{pointer!r} is no JSON pointer such as /conversation/id")


def _are_masks(masks: tuple[str, ...]) -> None:
    if len(masks) > MAX_MASKS:
        raise InvalidValue(f"a channel masks up to {MAX_MASKS} fields")
    for mask in masks:
        if not mask.startswith("/") or len(mask) > MAX_POINTER_CHARS:
            raise InvalidValue(f"{mask!r} is no JSON pointer such as /sender/phone_number")


def _is_scheme(scheme: str) -> None:
    if scheme and scheme not in HMAC_SCHEMES:
        raise InvalidValue(f"{scheme!r} is no signature scheme: {', '.join(HMAC_SCHEMES)}")


def _are_secrets(secrets: list[str]) -> None:
    if len(secrets) > MAX_SECRETS:
        raise InvalidValue(f"there are at most {MAX_SECRETS} HMAC secrets, not {len(secrets)}")
    for secret in map(str.strip, secrets):
        if not secret:
            raise InvalidValue("an HMAC secret is empty")
        if len(secret) > MAX_SECRET_CHARS:
            raise InvalidValue(f"an HMAC secret has up to {MAX_SECRET_CHARS} characters")


def _is_chatwoot(url: str) -> None:
    if url and (not _CHATWOOT.fullmatch(url) or len(url) > MAX_CHATWOOT_CHARS):
        raise InvalidValue(f"{url!r} is no address such as https://chat.example.com")


def _is_secret(secret: str) -> None:
    if len(secret) > MAX_SECRET_CHARS:
        raise InvalidValue(f"a secret has up to {MAX_SECRET_CHARS} characters")


_is_number = Bounds(0, 2**53, "Chatwoot's accounts, inboxes and bots have numbers from 1 on")


def _are_delays(delays: tuple[float, ...]) -> None:
    if len(delays) > MAX_RETRY_DELAYS:
        raise InvalidValue(f"there are at most {MAX_RETRY_DELAYS} retry delays, not {len(delays)}")
    refusal = f"a retry delay is {MIN_RETRY_DELAY_S:g} s to 7 days: not {{value:g}}"
    for delay in delays:
        Bounds(MIN_RETRY_DELAY_S, MAX_RETRY_DELAY_S, refusal)(delay)


def _are_lifetimes(lifetimes: tuple[tuple[str, float], ...]) -> None:
    if len(lifetimes) > MAX_LIFETIMES:
        raise InvalidValue(f"a channel has up to {MAX_LIFETIMES} times to live")
    refusal = f"a time to live is {MIN_LIFETIME_S:g} s to 30 days: not {{value:g}} s"
    for kind, lifetime_s in lifetimes:
        if not kind or "*" in kind[:-1]:
            raise InvalidValue(f"{kind!r} is no kind such as message_created, typing_* or *")
        Bounds(MIN_LIFETIME_S, MAX_LIFETIME_S, refusal)(lifetime_s)


class SenderKind(enum.StrEnum):
    """Who posts to a channel: decides where its kind and key are, and how it usually signs."""

    CHATWOOT = "chatwoot"
    GITHUB = "github"
    GITLAB = "gitlab"
    META = "meta"
    SHOPIFY = "shopify"
    SLACK = "slack"
    STANDARD_WEBHOOKS = "standard-webhooks"
    STRIPE = "stripe"
    TELEGRAM = "telegram"
    TWILIO = "twilio"
    OTHER = "other"


class HmacAuth(msgspec.Struct, frozen=True):
    """Signatures that a channel's sender must make; any one of the secrets, sealed, will do."""

    scheme: Annotated[
        str,
        Setting("How its sender signs, if not as --sender does.", metavar="SENDER"),
        _is_scheme,
    ]
    secrets: Annotated[
        tuple[bytes, ...],
        Setting(
            "File with a secret that its sender signs with; '-' reads a line. Repeat to rotate.",
            "--hmac-secret-file",
            given=list[str],
        ),
        _are_secrets,
    ]
    log_only: Annotated[
        bool,
        Setting("Log wrong signatures, or refuse them.", "--hmac-log-only/--hmac-enforce"),
    ] = False


class ChatwootLink(msgspec.Struct, frozen=True):
    """The Chatwoot that posts to a channel, and what the relay may do there.

    `relay-server chatwoot install` sets it, so no other command has options for it.

    Attributes:
        url: Of the installation, without a path.
        inbox: That its bot answers in; 0 without a bot.
        bot: By number; 0 without one.
        token: The bot's access token, sealed; empty where the relay may do nothing.
    """

    url: Annotated[str, Setting(), _is_chatwoot]
    account: Annotated[int, Setting(), _is_number] = 0
    inbox: Annotated[int, Setting(), _is_number] = 0
    bot: Annotated[int, Setting(), _is_number] = 0
    token: Annotated[bytes, Setting(given=str), _is_secret] = b""


class Policy(msgspec.Struct, frozen=True):
    """The consequences of failed attempts, and how strictly order is kept."""

    retry_delays_s: Annotated[
        tuple[float, ...],
        Setting(
            "Waits after each failure, e.g. 5s,30s,2m; after the last the delivery is dead."
            " none for no retries.",
            "--retry-delays",
            "SPANS",
        ),
        _are_delays,
    ] = (5.0, 30.0, 120.0, 600.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 36_000.0)
    other_tries: Annotated[
        int,
        Setting("Attempts of what hardly changes: a 3xx, or a 4xx such as 404."),
        Bounds(1, MAX_TRIES, f"an answer such as 404 is tried 1 to {MAX_TRIES} times"),
    ] = 3
    hold_failures: Annotated[
        int,
        Setting("Failures after which a failing event lets those behind it go on."),
        Bounds(0, MAX_TRIES, f"a failing event holds its key for 0 to {MAX_TRIES} failures"),
    ] = 3
    hold_s: Annotated[
        float,
        Setting("Seconds after which a failing event lets those behind it go on, too."),
        Bounds(0, MAX_RETRY_DELAY_S, "a failing event holds its key for 0 s to 7 days"),
    ] = 30.0
    strict_order: Annotated[
        bool,
        Setting(
            "An event that fails holds its conversation until it is settled.",
            "--strict-order/--no-strict-order",
        ),
    ] = False


class PolicyChanges(msgspec.Struct, frozen=True, omit_defaults=True):
    """A subscription's own policy; None, or left out, is as its channel has it."""

    retry_delays_s: tuple[float, ...] | None = None
    other_tries: int | None = None
    hold_failures: int | None = None
    hold_s: float | None = None
    strict_order: bool | None = None

    def applied_to(self, policy: Policy) -> Policy:
        """The policy that holds in the end."""
        changes = {name: v for name, v in msgspec.structs.asdict(self).items() if v is not None}
        return msgspec.structs.replace(policy, **changes)


class ChannelRules(msgspec.Struct, frozen=True):
    """Those settings of a channel that whoever may read it sees; None is no limit of its own."""

    sender: Annotated[
        SenderKind,
        Setting(
            "Who posts to it: chatwoot, github, gitlab, meta, shopify, slack, standard-webhooks,"
            " stripe, telegram, twilio or other.",
            metavar="SENDER",
        ),
    ] = SenderKind.CHATWOOT
    allow_from: Annotated[
        tuple[str, ...],
        Setting(
            "Network of its sender, e.g. 203.0.113.0/24. Repeat for more; '' for any.",
            metavar="NETWORK",
        ),
        _are_networks,
    ] = ()
    key_pointer: Annotated[
        str,
        Setting("JSON pointer to what keeps order, e.g. /ticket/id.", metavar="POINTER"),
        _is_pointer,
    ] = ""
    max_body_bytes: Annotated[
        int | None,
        Setting("Largest body; 0 for the server's."),
        Bounds(1, MAX_BODY_BYTES, f"a body is limited to 1 to {MAX_BODY_BYTES} bytes"),
    ] = None
    retention_days: Annotated[
        float, Setting("Days that delivered events are kept."), _days("events")
    ] = 7.0
    dead_days: Annotated[
        float, Setting("Days that dead deliveries are kept."), _days("dead deliveries")
    ] = 30.0
    max_bytes: Annotated[
        int | None,
        Setting("What its events may take, e.g. 500M or 2G; 0 for no limit.", metavar="BYTES"),
        Bounds(1, MAX_CHANNEL_BYTES, f"a channel's events may take 1 to {MAX_CHANNEL_BYTES} bytes"),
    ] = 1_073_741_824
    drop_oldest: Annotated[
        bool,
        Setting(
            "When it is full: delete its oldest events, delivered or not, or refuse new ones.",
            "--drop-oldest/--refuse-when-full",
        ),
    ] = False
    policy: Policy = Policy()  # of its subscriptions, unless one says otherwise
    rate_per_s: Annotated[
        float | None,
        Setting("Webhooks a second that are taken; 0 for any number."),
        Bounds(
            MIN_RATE_PER_S,
            MAX_RATE_PER_S,
            f"a rate is {MIN_RATE_PER_S:g} to {MAX_RATE_PER_S} webhooks a second",
        ),
    ] = None
    dedupe_window_s: Annotated[
        float,
        Setting("Seconds within which what a sender sends again is stored once; 0 for never."),
        Bounds(0, MAX_DEDUPE_WINDOW_S, "what is sent again is stored once for 0 s to 7 days"),
    ] = 600.0
    ttl: Annotated[  # kinds and seconds; of those that mean a kind, the first counts
        tuple[tuple[str, float], ...],
        Setting(
            "How long events of a kind are worth delivering, e.g. 'typing_*=10s'. Repeat for more;"
            " '' for ever.",
            metavar="KIND=SPAN",
        ),
        _are_lifetimes,
    ] = ()
    keep_bodies: Annotated[
        bool,
        Setting(
            "Keep bodies as long as their events, or drop each once everybody has it.",
            "--keep-bodies/--keep-no-bodies",
        ),
    ] = True
    mask: Annotated[
        tuple[str, ...],
        Setting(
            "Field that nobody is shown, by its JSON pointer, with * for any step and ** for any"
            " number, e.g. /**/phone_number. Repeat for more; '' for none.",
            metavar="POINTER",
        ),
        _are_masks,
    ] = ()
    refuse_after_s: Annotated[
        float | None,
        Setting(
            "Refuse webhooks while nothing has gone out to anybody for so long, e.g. 10s; 0 for"
            " never.",
            "--refuse-after",
            "SPAN",
        ),
        Bounds(MIN_AWAY_S, MAX_AWAY_S, f"webhooks are refused after {MIN_AWAY_S:g} s to 1 day"),
    ] = None


class ChannelConfig(ChannelRules, frozen=True):
    """The settings of a channel, by an operator."""

    token: Annotated[bool, Setting("Its sender must show a send token.", "--token/--no-token")] = (
        True
    )
    hmac: Annotated[
        HmacAuth | None,
        Setting(
            parts=HmacAuth, emptied=("--no-hmac", "Ask for no signature.", {"hmac_secrets": []})
        ),
    ] = None
    chatwoot: Annotated[ChatwootLink | None, Setting(parts=ChatwootLink)] = None
    expires: bool = False  # it has, or had, times to live
    owner: str = ""  # name of the only token that may subscribe; empty for any that is allowed here


class ForwardConfig(msgspec.Struct, frozen=True):
    """A subscription that the server itself reads, and posts to a URL."""

    url: Annotated[str, Setting("Where to.")]
    timeout_s: Annotated[
        float,
        Setting("Seconds for the whole answer. (default: 30)", "--timeout"),
        Bounds(
            0,
            MAX_TIMEOUT_S,
            f"a forward's timeout is above 0 and up to {MAX_TIMEOUT_S:g} seconds",
            above=True,
        ),
    ] = 30.0
    concurrency: Annotated[
        int,
        Setting("Requests that are open at once. (default: 8)"),
        Bounds(1, WINDOW_DELIVERIES, f"a forward's concurrency is from 1 to {WINDOW_DELIVERIES}"),
    ] = 8
    headers: Annotated[  # name and sealed value of each
        tuple[tuple[str, bytes], ...],
        Setting(
            "Header to add to each request, its value in a file. Repeat for more.",
            "--header-file",
            metavar="NAME=FILE",
            given=dict[str, str],
            emptied=("--no-headers", "Add no headers.", {"headers": {}}),
        ),
    ] = ()


class Away(enum.StrEnum):
    """What becomes of what waits while nobody answers."""

    QUEUE = "queue"
    HANDOFF = "handoff"


def _is_note(text: str) -> None:
    if len(text) > MAX_NOTE_CHARS:
        raise InvalidValue(f"a note has up to {MAX_NOTE_CHARS} characters")


_is_team = Bounds(0, 2**53, "Chatwoot's teams and agents have numbers from 1 on; 0 is none")


class SubscriptionConfig(msgspec.Struct, frozen=True):
    """The settings of a subscription, by an operator or a target.

    Attributes:
        policy: What it does otherwise than its channel.
        forward: Set when the server itself reads it.
        paused: Why nothing is delivered until somebody resumes it; empty when it is not paused.
        filtered: It has, or had, a filter, or somebody skipped what waited, or it hands over.
        made_by: Whose it is: the name of the token that made it, or used it first; empty for one
            that nobody has used since that is noted.
        temporary: It goes when nobody has read it for a while.
        once: Of events which tell one message of Chatwoot's, only the first is delivered.
        pause_loops: It is paused once its bot answers its own messages in Chatwoot.
        resign: Each attempt is signed anew.
        resign_secret: With this, sealed; empty for the channel's first.
    """

    policy: PolicyChanges = PolicyChanges()
    forward: ForwardConfig | None = None
    paused: str = ""
    filter: Annotated[
        str, Setting("Which events it gets, e.g. 'kind:message_* -is:private'; '' for all.")
    ] = ""
    filtered: bool = False
    made_by: str = ""
    temporary: bool = False
    once: Annotated[
        bool,
        Setting(
            "Deliver a message of Chatwoot's once, or as often as webhooks tell it.",
            "--once/--each-time",
        ),
    ] = False
    pause_loops: Annotated[
        bool,
        Setting(
            "Pause it once its bot answers its own messages in Chatwoot, or let it.",
            "--pause-loops/--let-loop",
        ),
    ] = True
    resign: Annotated[
        bool,
        Setting(
            "Sign each attempt anew as its sender does, or leave signatures as they came.",
            "--resign/--no-resign",
        ),
    ] = False
    resign_secret: Annotated[
        bytes,
        Setting(
            "File with a secret of its own to sign anew with; '-' reads a line.",
            "--resign-secret-file",
            given=str,
            emptied=(
                "--channel-secret",
                "Sign anew with the channel's secret.",
                {"resign_secret": ""},
            ),
        ),
        _is_secret,
    ] = b""
    away: Annotated[
        Away,
        Setting(
            "While nobody answers: have what waits wait, or hand its Chatwoot conversations to"
            " people.",
            metavar="queue|handoff",
        ),
    ] = Away.QUEUE
    away_after_s: Annotated[
        float,
        Setting("After how long of that conversations are handed over, e.g. 2m.", "--away-after"),
        Bounds(MIN_AWAY_S, MAX_AWAY_S, f"a bot is away after {MIN_AWAY_S:g} s to 1 day"),
    ] = 120.0
    away_note: Annotated[
        str,
        Setting("The note that people find then; {since} is since when. '' for the usual one."),
        _is_note,
    ] = ""
    away_say: Annotated[
        str,
        Setting("What the customer is told then, e.g. 'One moment, please.'; '' for nothing."),
        _is_note,
    ] = ""
    away_team: Annotated[
        int, Setting("Number of the team that they are given to then; 0 for none."), _is_team
    ] = 0
    away_user: Annotated[
        int, Setting("Number of the agent that they are given to then; 0 for none."), _is_team
    ] = 0

    def with_filter(self, text: str) -> SubscriptionConfig:
        """The same with another filter, as `language.check_standing` gives it."""
        filtered = self.filtered or bool(text)
        return msgspec.structs.replace(self, filter=text, filtered=filtered)


ORDINARY = SubscriptionConfig()
