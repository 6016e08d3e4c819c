"""The server's metrics, for Prometheus. `docs/reference/metrics.md` is made from their texts."""

from __future__ import annotations

import asyncio
import functools
import time
from bisect import bisect_left
from collections import Counter as Counts
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from relay_protocol.values import FailureKind, Outcome, Response
from relay_server.channels import CANARY_PREFIX
from relay_server.clock import Clock, until_next
from relay_server.log import lost_lines
from relay_server.reported import ChannelStatus, SubscriptionStatus
from relay_server.throttle import Throttle
from relay_server.values import Channel

log = structlog.get_logger()

# Seconds; Chatwoot gives up at 5.
ANSWER_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
# Seconds; a laptop that slept through the night is among them.
DELIVERY_BUCKETS = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0),
    *(5.0, 30.0, 300.0, 3_600.0, 28_800.0, 86_400.0),
)
COMMIT_BUCKETS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0)
LAG_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
LAG_LOOK_S = 0.5  # between two looks at the event loop's lag
LAG_WARN_S = 0.5  # a longer lag is a warning in the log
CANARY = "canary"  # one label for all of them: each has a name of its own, for a moment


class Times:
    """How often something took how long, in plain numbers; one thread adds, any may read.

    Attributes:
        total_s: All of it together.
    """

    __slots__ = ("_bounds", "_within", "total_s")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._within = [0] * (len(bounds) + 1)  # the last is for longer ones
        self.total_s = 0.0

    def add(self, seconds: float) -> None:
        """It took so long once more."""
        self._within[bisect_left(self._bounds, seconds)] += 1
        self.total_s += seconds

    def add_all(self, seconds: Sequence[float]) -> None:
        """It took each of these."""
        places = map(functools.partial(bisect_left, self._bounds), seconds)
        for place, count in Counts(places).items():
            self._within[place] += count
        self.total_s += sum(seconds)

    def buckets(self) -> list[tuple[str, float]]:
        """How often it took no longer than each bound, as Prometheus has it."""
        names = [*map(str, self._bounds), "+Inf"]
        return list(zip(names, accumulate(self._within), strict=True))


class PerWebhook(Collector):
    """Counts webhooks' answers, with their times, and attempts.

    In plain numbers, which become Prometheus' when it asks: its own counters take locks that one
    thread needs none of, and would be a tenth of what a webhook costs on its way in, and out. Each
    is only noted where it happens; what was noted is summed up twice a second.

    Attributes:
        answered: Seconds that answers took, by channel and status; not summed up yet.
        attempts: Attempts that ended, by channel and their status or why there is none; the same.
        delivered: Seconds until a target took webhooks, by channel; the same.
    """

    def __init__(self) -> None:
        self._answers = Counts[tuple[str, int]]()  # by channel, and status
        self._outcomes = Counts[tuple[str, str]]()  # of attempts, by channel
        self._answer_times = Times(ANSWER_BUCKETS)
        self._delivery_times = defaultdict[str, Times](lambda: Times(DELIVERY_BUCKETS))
        self._began = time.time()
        self.answered = defaultdict[tuple[str, int], list[float]](list)
        self.attempts = Counts[tuple[str, int | FailureKind]]()
        self.delivered = defaultdict[str, list[float]](list)

    def sum_up(self) -> None:
        """Count what was noted since the last time."""
        for (channel, status), seconds in self.answered.items():
            self._answers[_label(channel), status] += len(seconds)
            self._answer_times.add_all(seconds)
        for (channel, ended), count in self.attempts.items():
            outcome = f"{ended // 100}xx" if isinstance(ended, int) else ended.value
            self._outcomes[_label(channel), outcome] += count
        for channel, seconds in self.delivered.items():
            self._delivery_times[_label(channel)].add_all(seconds)
        for noted in (self.answered, self.attempts, self.delivered):
            noted.clear()

    def collect(self) -> Iterator[Metric]:
        """What was counted, as Prometheus has it."""
        self.sum_up()
        counted = CounterMetricFamily(
            "relay_webhooks_total",
            "Webhooks answered, by channel and what was answered.",
            labels=["channel", "answer"],
        )
        for (channel, status), count in self._answers.items():
            counted.add_metric([channel, str(status)], count, created=self._began)
        yield counted
        yield HistogramMetricFamily(
            "relay_answer_seconds",
            "Time from a webhook's headers to its answer.",
            buckets=self._answer_times.buckets(),
            sum_value=self._answer_times.total_s,
        )
        ended = CounterMetricFamily(
            "relay_attempts_total",
            "Attempts that ended, by channel and outcome.",
            labels=["channel", "outcome"],
        )
        for (channel, outcome), count in self._outcomes.items():
            ended.add_metric([channel, outcome], count, created=self._began)
        yield ended
        took = HistogramMetricFamily(
            "relay_delivery_seconds",
            "Time from a webhook's arrival to a target's 2xx, by channel; replays do not count.",
            labels=["channel"],
        )
        for channel, times in self._delivery_times.items():
            took.add_metric([channel], times.buckets(), times.total_s)
        yield took


@dataclass(frozen=True, slots=True)
class Reading:
    """How subscriptions and channels are, as the store says it at one moment.

    Attributes:
        read_at: Monotonic seconds.
        now: The same moment in Unix milliseconds.
        subscriptions: Each with the number of its readers.
        channels: Each with the share of its bytes that is taken, from 0 on.
        store_bytes: What the store takes on its disk.
        commits: How long its commits took, each with its fsync.
        index_lag_s: Of each channel, by name: the age of its oldest event that no search finds by
            the index yet.
    """

    read_at: float
    now: int
    subscriptions: Sequence[tuple[SubscriptionStatus, int]] = ()
    channels: Sequence[tuple[ChannelStatus, float]] = ()
    store_bytes: int = 0
    commits: Times | None = None
    index_lag_s: Sequence[tuple[str, float]] = ()


OfSubscription = Callable[[SubscriptionStatus, int, int], float]  # its readers, and the time
OfChannel = Callable[[ChannelStatus, float], float]  # the share that is taken

SUBSCRIPTION_GAUGES: Sequence[tuple[str, str, OfSubscription]] = (
    (
        "relay_backlog",
        "Deliveries of a subscription that are not settled.",
        lambda status, _readers, _now: status.backlog,
    ),
    (
        "relay_oldest_waiting_seconds",
        "Age of the oldest event that waits for a subscription; 0 while none does.",
        lambda status, _readers, now: _age_s(status.oldest_waiting_at, now),
    ),
    (
        "relay_dead",
        "Deliveries of a subscription that were given up, and are listed.",
        lambda status, _readers, _now: status.dead,
    ),
    (
        "relay_readers",
        "Connections that read a subscription; the server itself is one for a forward.",
        lambda _status, readers, _now: readers,
    ),
    (
        "relay_paused",
        "1 while a subscription is paused.",
        lambda status, _readers, _now: bool(status.subscription.config.paused),
    ),
)
CHANNEL_GAUGES: Sequence[tuple[str, str, OfChannel]] = (
    ("relay_channel_events", "Events that a channel holds.", lambda status, _: status.events),
    ("relay_channel_bytes", "Bytes that its events take.", lambda status, _: status.bytes),
    (
        "relay_channel_full_ratio",
        "The share of its bytes that is taken; 0 where it has no limit.",
        lambda _, share: share,
    ),
)


@dataclass(frozen=True, slots=True)
class CanaryResult:
    """How a canary went.

    Attributes:
        at: When it ended, in Unix milliseconds.
        took_s: From its making to the store's word that it was delivered, or until it failed.
        failure: Where it ended before; empty if it did not.
    """

    at: int
    took_s: float
    failure: str = ""


class Canaries(Collector):
    """How the last canary went, and how many went so; nothing while none is sent."""

    def __init__(self) -> None:
        self._last: CanaryResult | None = None
        self._counts = Counts[str]()
        self._began = time.time()

    @property
    def last(self) -> CanaryResult | None:
        """The last one; set to count one more."""
        return self._last

    @last.setter
    def last(self, result: CanaryResult) -> None:
        self._last = result
        self._counts["failed" if result.failure else "delivered"] += 1

    def collect(self) -> Iterator[Metric]:
        """What is known, as Prometheus has it."""
        well = GaugeMetricFamily("relay_canary_ok", "1 if the server's last canary was delivered.")
        took = GaugeMetricFamily("relay_canary_seconds", "Time that its last canary took, or had.")
        at = GaugeMetricFamily(
            "relay_canary_last_timestamp_seconds", "When its last canary ended, in Unix seconds."
        )
        count = CounterMetricFamily(
            "relay_canaries_total", "The server's canaries, by how they ended.", labels=["result"]
        )
        if self._last is not None:
            well.add_metric([], not self._last.failure)
            took.add_metric([], self._last.took_s)
            at.add_metric([], self._last.at / 1_000)
        for result, number in self._counts.items():
            count.add_metric([result], number, created=self._began)
        yield from (well, took, at, count)


class LastReading(Collector):
    """What the store said when Prometheus asked, as gauges."""

    def __init__(self) -> None:
        self.reading: Reading | None = None

    def collect(self) -> Iterator[Metric]:
        """Nothing before the store was asked."""
        reading = self.reading or Reading(0, 0)
        for name, text, of_subscription in SUBSCRIPTION_GAUGES:
            gauge = GaugeMetricFamily(name, text, labels=["channel", "subscription"])
            for status, readers in reading.subscriptions:
                subscription = status.subscription
                labels = [subscription.channel, subscription.name]
                gauge.add_metric(labels, of_subscription(status, readers, reading.now))
            yield gauge
        for name, text, of_channel in CHANNEL_GAUGES:
            gauge = GaugeMetricFamily(name, text, labels=["channel"])
            for channel, share in reading.channels:
                gauge.add_metric([channel.channel], of_channel(channel, share))
            yield gauge
        size = GaugeMetricFamily("relay_store_bytes", "Bytes that the store takes on its disk.")
        if self.reading is not None:
            size.add_metric([], reading.store_bytes)
        yield size
        commits = HistogramMetricFamily(
            "relay_commit_seconds", "Time that a commit of the store takes, with its fsync."
        )
        if reading.commits is not None:
            commits.add_metric([], reading.commits.buckets(), reading.commits.total_s)
        yield commits
        behind = GaugeMetricFamily(
            "relay_index_lag_seconds",
            "Age of a channel's oldest event that is not in the search index; 0 while all are.",
            labels=["channel"],
        )
        for name, lag_s in reading.index_lag_s:
            behind.add_metric([name], lag_s)
        yield behind


def _age_s(since: int | None, now: int) -> float:
    return 0.0 if since is None else max(0, now - since) / 1_000


class Metrics:
    """One server's counters; a registry of their own, so that tests start at zero."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)
        self._per_webhook = PerWebhook()
        registry.register(self._per_webhook)
        self._last = LastReading()
        registry.register(self._last)
        self._canaries = Canaries()
        registry.register(self._canaries)
        self.events_dropped = Counter(
            "relay_events_dropped_total",
            "Events deleted undelivered to make room, by channel.",
            ["channel"],
            registry=registry,
        )
        self.connections = Gauge("relay_connections", "Connected clients.", registry=registry)
        self.feeds = Gauge("relay_feeds", "Live feeds that are read.", registry=registry)
        self.limited = Counter(
            "relay_limited_total",
            "What was refused because there was too much of it, by limit.",
            ["limit"],
            registry=registry,
        )
        self.loop_lag_seconds = Histogram(
            "relay_loop_lag_seconds",
            "How late the event loop came to a task that was due; looked at twice a second.",
            buckets=LAG_BUCKETS,
            registry=registry,
        )
        self.store_taking = Gauge(
            "relay_store_taking",
            "1 while webhooks can be stored, 0 while the disk is full or read-only.",
            registry=registry,
        )
        self.store_taking.set(1)
        self.spooled = Gauge(
            "relay_spooled",
            "Webhooks that wait on this server's disk until the database is back.",
            registry=registry,
        )
        self.stuck = Gauge(
            "relay_spooled_stuck",
            "Webhooks that were answered 2xx and stay there: their channel is gone, or full.",
            registry=registry,
        )
        self.replicas_missed = Gauge(
            "relay_replicas_missed",
            "Other servers of the same database that this one cannot reach for those that share.",
            registry=registry,
        )
        self.certificate_stale = Gauge(
            "relay_certificate_stale",
            "1 while a renewed certificate cannot be used, and the one before is served.",
            registry=registry,
        )
        self.log_lines_lost = Gauge(
            "relay_log_lines_lost",
            "Log lines that could not be written since the start, as on a full disk.",
            registry=registry,
        )
        self.log_lines_lost.set_function(lost_lines)

    def answered(self, channel: Channel | None, status: int, seconds: float) -> None:
        """Count a webhook's answer; without a channel, one that was not let in."""
        self._per_webhook.answered[channel.name if channel else "", status].append(seconds)

    def attempt(self, channel: str, outcome: Outcome) -> None:
        """Count an attempt that ended."""
        ended = outcome.status if isinstance(outcome, Response) else outcome.kind
        self._per_webhook.attempts[channel, ended] += 1

    def delivered(self, channel: str, seconds: float) -> None:
        """Count how long after its arrival a target took a webhook."""
        self._per_webhook.delivered[channel].append(seconds)

    def sum_up(self) -> None:
        """Count what was noted of webhooks: often, as notes take room."""
        self._per_webhook.sum_up()

    def dropped(self, channel: Channel, events: int) -> None:
        """Count events that were deleted undelivered."""
        self.events_dropped.labels(_label(channel.name)).inc(events)

    @property
    def canary(self) -> CanaryResult | None:
        """How the server's last canary went; set to count one more."""
        return self._canaries.last

    @canary.setter
    def canary(self, result: CanaryResult) -> None:
        self._canaries.last = result

    @property
    def reading(self) -> Reading | None:
        """What the store said last; set anew before `text`."""
        return self._last.reading

    @reading.setter
    def reading(self, reading: Reading) -> None:
        self._last.reading = reading

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)


async def measure_lag(clock: Clock, metrics: Metrics, throttle: Throttle) -> None:
    """Wake up now and then, and see how much too late: what holds it up holds up every webhook.

    What was noted of webhooks meanwhile is summed up then.
    """
    while True:
        before = clock.monotonic()
        wait_s = until_next(LAG_LOOK_S, before)
        await asyncio.sleep(wait_s)
        now = clock.monotonic()
        late_s = max(0.0, now - before - wait_s)
        metrics.loop_lag_seconds.observe(late_s)
        metrics.sum_up()
        if late_s > LAG_WARN_S and (times := throttle.due("lag", now)):
            log.warning("the event loop was held up", seconds=round(late_s, 3), times=times)


def _label(channel: str) -> str:
    return CANARY if channel.startswith(CANARY_PREFIX) else channel
