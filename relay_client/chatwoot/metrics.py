"""What a bot counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

REPLY_BUCKETS_S = (0.1, 0.5, 1, 2, 5, 10, 20, 40, 80, 160, 320)


class Metrics:
    """One bot's.

    Attributes:
        webhooks: By `outcome`: `taken`, `repeat`, `ignored`, `refused`.
        turns: By how they ended: `sent`, `left`, `handed`, `given_up`.
        replies: How long the reply function took, in seconds.
        failures: Of the reply function, and of calls to Chatwoot, by `of`.
    """

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.webhooks = Counter(
            "relay_bot_webhooks", "Webhooks that came", ["outcome"], registry=registry
        )
        self.turns = Counter("relay_bot_turns", "Answers owed, by end", ["end"], registry=registry)
        self.replies = Histogram(
            "relay_bot_reply_seconds", "The reply", buckets=REPLY_BUCKETS_S, registry=registry
        )
        self.failures = Counter(
            "relay_bot_failures", "Of the reply or of Chatwoot", ["of"], registry=registry
        )

    def watch(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Have a gauge that is read when it is asked for."""
        Gauge(f"relay_bot_{name}", text, registry=self.registry).set_function(read)

    def page(self) -> bytes:
        """As Prometheus reads it."""
        return generate_latest(self.registry)
