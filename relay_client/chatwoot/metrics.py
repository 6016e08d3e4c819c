"""What a bot counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

REPLY_BUCKETS_S = (0.1, 0.5, 1, 2, 5, 10, 20, 40, 80, 160, 320)


class Metrics:
    """One bot's, each described by its text.

    Attributes:
        webhooks: By `outcome`: `taken`, `repeat`, `ignored`, `refused`.
        turns: By `end`: `sent`, `left`, `handed`, `given_up`.
        failures: By `of`: `reply`, `chatwoot`.
    """

    def __init__(self) -> None:
        own = self.registry = CollectorRegistry()
        self.webhooks = Counter(
            "relay_bot_webhooks",
            "Webhooks that came, by what became of them.",
            ["outcome"],
            registry=own,
        )
        self.turns = Counter(
            "relay_bot_turns", "Answers that were owed, by how that ended.", ["end"], registry=own
        )
        buckets = REPLY_BUCKETS_S
        self.replies = Histogram(
            "relay_bot_reply_seconds",
            "Time that the reply function took.",
            buckets=buckets,
            registry=own,
        )
        self.failures = Counter(
            "relay_bot_failures",
            "Failures of the reply function, and of calls to Chatwoot.",
            ["of"],
            registry=own,
        )
        self.owed = Gauge("relay_bot_owed", "Answers that are owed.", registry=own)
        self.working = Gauge("relay_bot_working", "Conversations that are worked on.", registry=own)
        self.alarm = Gauge(
            "relay_bot_alarm",
            "1 while Chatwoot does not take the token, and nothing is sent.",
            registry=own,
        )

    def page(self) -> bytes:
        return generate_latest(self.registry)
