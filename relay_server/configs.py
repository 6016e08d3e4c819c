"""The settings of channels, subscriptions and forwards, and of how they deliver.

Each `Setting` below is the one place where it is written down: `settables` says what is made of it.
So a new setting is one line here, and its use. What is stored is read without the checks: a store
may hold what an older version allowed.
"""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec

from relay_protocol.limits import MAX_BODY_BYTES, WINDOW_DELIVERIES
from relay_server.settables import Bounds, Setting
from relay_server.validity import (
    MAX_RETRY_DELAY_S,
    are_delays,
    are_lifetimes,
    are_masks,
    are_networks,
    are_secrets,
    days,
    is_chatwoot,
    is_note,
    is_number,
    is_pointer,
    is_scheme,
    is_secret,
    is_team,
)

MIN_RATE_PER_S = 0.001  # of a channel's `--rate-per-s`; a lower one is refused
MAX_RATE_PER_S = 1_000_000  # the same, and a higher one
MAX_DEDUPE_WINDOW_S = 604_800.0  # 7 days, of `--dedupe-window-s`; a longer one is refused
MAX_CHANNEL_BYTES = 1_125_899_906_842_624  # 1 PiB; a larger `--max-bytes` is refused
MAX_TRIES = 100  # `--other-tries` and `--hold-failures`; more are refused
MAX_TIMEOUT_S = 3_600.0  # of a forward's `--timeout`; a longer one is refused
MIN_AWAY_S = 1.0  # of `--refuse-after` and `--away-after`; a shorter one is refused
MAX_AWAY_S = 86_400.0  # 1 day, of one of them; a longer one is refused
MAX_HEADERS = 32  # that a forward adds; more are refused
MAX_HEADER_BYTES = 8_190  # of the name or value of one; a longer one is refused


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
        is_scheme,
    ]
    secrets: Annotated[
        tuple[bytes, ...],
        Setting(
            "File with a secret that its sender signs with; '-' reads a line. Repeat to rotate.",
            "--hmac-secret-file",
            given=list[str],
        ),
        are_secrets,
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

    url: Annotated[str, Setting(), is_chatwoot]
    account: Annotated[int, Setting(), is_number] = 0
    inbox: Annotated[int, Setting(), is_number] = 0
    bot: Annotated[int, Setting(), is_number] = 0
    token: Annotated[bytes, Setting(given=str), is_secret] = b""


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
        are_delays,
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
        are_networks,
    ] = ()
    key_pointer: Annotated[
        str,
        Setting("JSON pointer to what keeps order, e.g. /ticket/id.", metavar="POINTER"),
        is_pointer,
    ] = ""
    max_body_bytes: Annotated[
        int | None,
        Setting("Largest body; 0 for the server's."),
        Bounds(1, MAX_BODY_BYTES, f"a body is limited to 1 to {MAX_BODY_BYTES} bytes"),
    ] = None
    retention_days: Annotated[
        float, Setting("Days that delivered events are kept."), days("events")
    ] = 7.0
    dead_days: Annotated[
        float, Setting("Days that dead deliveries are kept."), days("dead deliveries")
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
        are_lifetimes,
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
        are_masks,
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


class SubscriptionConfig(msgspec.Struct, frozen=True):
    """The settings of a subscription, by an operator or a target.

    Attributes:
        policy: What it does otherwise than its channel.
        forward: Set when the server itself reads it.
        paused: Why nothing is delivered until somebody resumes it; empty when it is not paused.
        paused_at: Since when, in Unix milliseconds; 0 where that was not noted.
        paused_by: The token of who did that; empty for the host, a target or a loop.
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
    paused_at: int = 0
    paused_by: str = ""
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
        is_secret,
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
        is_note,
    ] = ""
    away_say: Annotated[
        str,
        Setting("What the customer is told then, e.g. 'One moment, please.'; '' for nothing."),
        is_note,
    ] = ""
    away_team: Annotated[
        int, Setting("Number of the team that they are given to then; 0 for none."), is_team
    ] = 0
    away_user: Annotated[
        int, Setting("Number of the agent that they are given to then; 0 for none."), is_team
    ] = 0

    def with_filter(self, text: str) -> SubscriptionConfig:
        """The same with another filter, as `language.check_standing` gives it."""
        filtered = self.filtered or bool(text)
        return msgspec.structs.replace(self, filter=text, filtered=filtered)


ORDINARY = SubscriptionConfig()
