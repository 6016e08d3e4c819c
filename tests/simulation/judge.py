"""Says whether the promise was kept: what was sent, what came, and what the store says of it."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from dataclasses import dataclass, field

from relay_protocol.values import Delivery, HeaderList, RequestHead
from relay_server.configs import Policy
from tests.simulation.disk import Kept, at_once
from tests.simulation.kernel import Kernel
from tests.simulation.network import Link

AFTER_S = 1.5  # how long after a disturbance it has consequences, on a network without delays


@dataclass(slots=True)
class Sent:
    """A webhook as its sender made it.

    Attributes:
        answered: The event's id and sequence, once a 2xx came.
        at: When it was sent first, in virtual seconds.
    """

    channel: str
    key: str
    body: bytes
    headers: HeaderList
    answered: tuple[str, int] | None = None
    at: float = 0.0


@dataclass(slots=True)
class Visit:
    """A delivery at its target.

    Attributes:
        reader: The subscription's number, or a replay's.
        machine: Where the target is.
        life: Which run of the client on that machine it was.
        took: The target answered 2xx, or did what was asked and nobody heard.
        answered: And the client heard of it.
    """

    reader: int
    subscription: int
    sequence: int
    key: str
    machine: int
    life: int
    began: float
    ended: float = math.inf
    took: bool = False
    answered: bool = False
    failed: bool = False


@dataclass(slots=True)
class _History:
    """What came of one event for one reader."""

    visits: list[Visit] = field(default_factory=list)

    @property
    def taken(self) -> bool:
        return any(v.took for v in self.visits)

    def passed(self, policy: Policy, now: float, ahead_s: float) -> bool:
        """Whether its key may have gone on without it.

        Args:
            policy: That may have counted.
            now: In virtual seconds.
            ahead_s: How far the server's date has jumped ahead, which lets holds end sooner.
        """
        failures = [v for v in self.visits if v.failed]
        if not failures:
            return False
        if len(failures) > len(policy.retry_delays_s) or len(failures) >= policy.other_tries:
            return True  # dead
        if policy.strict_order:
            return False
        failing_for_s = now - failures[0].ended + 0.001 + ahead_s
        return len(failures) >= policy.hold_failures or failing_for_s >= policy.hold_s


class Disturbances:
    """Until when each machine's connection was not what it should be.

    Attributes:
        links: The one that each machine opened last.
        joining: Machines whose client may take over any moment: it has opened a connection, and
            was not heard of again.
        delay_s: The longest that a frame may have been on its way so far.
    """

    def __init__(self, kernel: Kernel, delay_s: float) -> None:
        self.links: dict[int, Link] = {}
        self.joining: dict[int, None] = {}
        self.delay_s = delay_s
        self._kernel = kernel
        self._until: dict[int, float] = defaultdict(lambda: -math.inf)

    def note(self, machine: int) -> None:
        """Something happened just now."""
        self._until[machine] = max(self._until[machine], self._kernel.now)

    def begin(self, machine: int) -> None:
        """Something is wrong from now on."""
        self._until[machine] = math.inf

    def end(self, machine: int) -> None:
        """It is over."""
        self._until[machine] = self._kernel.now

    def join(self, machine: int) -> None:
        """A client opens a connection."""
        self.note(machine)
        self.joining[machine] = None

    def joined(self, machine: int) -> None:
        """It was let in, or has ended."""
        self.note(machine)
        self.joining.pop(machine, None)

    def since(self, machine: int, moment: float) -> bool:
        """Whether there was one after a moment, or shortly before."""
        if machine in self.joining:
            return True
        link = self.links.get(machine)
        if link is not None and link.client.lost != link.server.lost:
            return True  # one end believes in it still
        return self._until[machine] >= moment - AFTER_S - self.delay_s


class Judge:
    """Looks at every arrival when it happens, and at the whole at the end."""

    def __init__(self, kernel: Kernel, disturbances: Disturbances, kept: Kept) -> None:
        self.ahead_s = 0.0  # by how much the server's date has jumped forward
        self.sent: dict[bytes, Sent] = {}  # by body
        self.taken = 0  # deliveries
        self.policies: dict[str, list[Policy]] = {}  # that a channel had, by name
        self.lifetimes: dict[str, float] = {}  # of a channel's events, by its name
        self.histories: dict[tuple[int, int], _History] = defaultdict(_History)
        # When a subscription's targets took an event, by its number and the sequence.
        self.takes: dict[tuple[int, int], list[float]] = defaultdict(list)
        # What a subscription was, or may have been, set to get, by channel and name, and until
        # when: in virtual seconds.
        self.filters: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
        self.asked_for: dict[tuple[str, str], str | None] = {}  # by its clients, again and again
        self._kernel = kernel
        self._disturbances = disturbances
        self._kept = kept
        self._known: dict[tuple[str, int], tuple[str, bytes]] = {}  # by channel and sequence
        self._keys: dict[tuple[int, str], list[int]] = defaultdict(list)  # sequences, as they came
        self._open: dict[tuple[int, str], list[Visit]] = defaultdict(list)

    def will_send(self, sent: Sent) -> None:
        """A sender is about to post this, maybe more than once."""
        self.sent[sent.body] = sent
        sent.at = self._kernel.now

    def may_be_set(self, channel: str, name: str, wanted: str) -> None:
        """Somebody is about to have a subscription get this."""
        self.filters[channel, name].pop(wanted, None)  # the one asked for last is the last
        self.filters[channel, name][wanted] = math.inf

    def was_set(self, channel: str, name: str, wanted: str) -> None:
        """Now it gets this, and none of what was asked for before decides any more."""
        filters = self.filters[channel, name]
        for other, until in filters.items():
            if other == wanted:
                break
            if other != self.asked_for.get((channel, name)):
                filters[other] = min(until, self._kernel.now)

    def meant(self, channel: str, name: str, body: bytes) -> set[bool]:
        """What the filters that a subscription may have had since it was sent say of an event."""
        pick = json.loads(body)["pick"]
        filters, at = self.filters[channel, name], self.sent[body].at
        return {_means(wanted, pick) for wanted, until in filters.items() if until >= at}

    def may_have_expired(self, channel: str, body: bytes) -> bool:
        """Whether an event has outlived its channel's time to live by now."""
        age_s = self._kernel.now - self.sent[body].at + self.ahead_s
        return age_s > self.lifetimes.get(channel, math.inf)

    def arrived(self, delivery: Delivery, machine: int, life: int) -> Visit:
        """A target got a request."""
        head = delivery.event
        reader = int(delivery.id.partition(".")[0])
        visit = Visit(
            reader,
            delivery.subscription,
            head.sequence,
            head.key,
            machine,
            life,
            self._kernel.now,
        )
        self._kernel.note(
            "arrived", delivery=delivery.id, attempt=delivery.attempt, at=f"{machine}/{life}"
        )
        self._same_bytes(delivery)
        self._is_meant(delivery)
        self._in_order(visit, delivery.channel)
        self._alone(visit)
        self._no_duplicate(visit)
        self.histories[reader, head.sequence].visits.append(visit)
        self._open[visit.subscription, visit.key].append(visit)
        return visit

    def ended(self, visit: Visit, *, took: bool, heard: bool, failed: bool) -> None:
        """A target answered, or did not.

        Args:
            visit: Which request.
            took: The target did what was asked.
            heard: Its 2xx reached the client.
            failed: It may count against the delivery.
        """
        visit.ended, visit.took, visit.answered = self._kernel.now, took, heard
        visit.failed = failed
        history = self.histories[visit.reader, visit.sequence]
        self.taken += took and not any(v.took for v in history.visits if v is not visit)
        self._open[visit.subscription, visit.key].remove(visit)
        if took:
            self.takes[visit.subscription, visit.sequence].append(self._kernel.now)
        self._kernel.note("ended", delivery=f"{visit.reader}.{visit.sequence}", took=took)

    def _same_bytes(self, delivery: Delivery) -> None:
        head, name = delivery.event, delivery.id
        sent = self.sent.get(delivery.body)
        if sent is None:
            self._kernel.violate("ghost or mutated body", delivery=name)
            return
        request = head.request
        if (sent.channel, sent.headers) != (delivery.channel, request.headers):
            self._kernel.violate("mutated", delivery=name, headers=request.headers)
        if _place(request) != _wanted_place(delivery.channel) or head.key != sent.key:
            self._kernel.violate("mutated", delivery=name, target=_place(request), key=head.key)
        known = self._known.setdefault((delivery.channel, head.sequence), (head.id, delivery.body))
        if known != (head.id, delivery.body):
            self._kernel.violate("two events of one sequence", delivery=name)

    def _is_meant(self, delivery: Delivery) -> None:
        """No filter asks a replay; all else came through one."""
        if delivery.replay or delivery.body not in self.sent:
            return
        name = self._name(delivery.subscription, delivery.channel)
        if True not in self.meant(delivery.channel, name, delivery.body):
            self._kernel.violate("not meant", delivery=delivery.id)

    def _in_order(self, visit: Visit, channel: str) -> None:
        """Each earlier one of the key was taken before, or its key was let go without it."""
        if visit.reader < 0:
            return
        seen = self._keys[visit.reader, visit.key]
        if visit.sequence in seen:
            return
        if (
            seen
            and max(seen) > visit.sequence
            and not self._is_gone(channel, visit.sequence)
            # What a filter left out, which a crash forgot, the next filter may mean.
            and not self._may_be_skipped(visit.subscription, channel, visit.sequence)
        ):
            self._kernel.violate("out of order", reader=visit.reader, sequence=visit.sequence)
        seen.append(visit.sequence)
        for earlier in seen[-4:-1]:
            history = self.histories[visit.reader, earlier]
            if history.taken or self._passed(history, channel, visit):
                continue
            if self._may_be_skipped(visit.subscription, channel, earlier):
                continue
            if not self._is_gone(channel, earlier):
                self._kernel.violate(
                    "overtook", reader=visit.reader, sequence=visit.sequence, earlier=earlier
                )

    def _passed(self, history: _History, channel: str, visit: Visit) -> bool:
        return any(history.passed(p, visit.began, self.ahead_s) for p in self.policies[channel])

    def _may_be_skipped(self, subscription: int, channel: str, sequence: int) -> bool:
        """Whether a filter that it may have had leaves an event out, or it came too late."""
        _, body = self._known[channel, sequence]
        if self.may_have_expired(channel, body):
            return True
        return False in self.meant(channel, self._name(subscription, channel), body)

    def _name(self, subscription: int, channel: str) -> str:
        known = at_once(self._kept.subscriptions(channel))
        return next(s.name for s in known if s.number == subscription)

    def _is_gone(self, channel: str, sequence: int) -> bool:
        """Whether it made room: the server goes on without it, a client may have it still."""
        return self._kept.is_gone(self._kept.catalog.channels[channel].number, sequence)

    def _alone(self, visit: Visit) -> None:
        for other in self._open[visit.subscription, visit.key]:
            same = (other.reader, other.sequence, other.machine, other.life)
            if same == (visit.reader, visit.sequence, visit.machine, visit.life):
                self._kernel.violate("posted twice at once by one client", visit=visit)
            machines = (other.machine, visit.machine)
            if any(self._disturbances.since(m, other.began) for m in machines):
                continue
            self._kernel.violate(
                "two of a key at once",
                deliveries=f"{other.reader}.{other.sequence}, {visit.reader}.{visit.sequence}",
            )

    def _no_duplicate(self, visit: Visit) -> None:
        for earlier in self.histories[visit.reader, visit.sequence].visits:
            if not earlier.took:
                continue
            self._kernel.note("duplicate")
            if not earlier.answered:
                continue  # nobody could know
            if (earlier.machine, earlier.life) == (visit.machine, visit.life):
                self._kernel.violate("duplicate to one client", visit=visit)
            machines = (earlier.machine, visit.machine)
            if not any(self._disturbances.since(m, earlier.began) for m in machines):
                self._kernel.violate("duplicate without a reason", visit=visit)


def _means(wanted: str, pick: int) -> bool:
    """One of the plan's filters, read by itself."""
    if not wanted:
        return True
    return (str(pick) in wanted.partition(":")[2].split(",")) is not wanted.startswith("-")


def _place(request: RequestHead) -> tuple[str, str]:
    return request.method, request.request_target


def _wanted_place(channel: str) -> tuple[str, str]:
    return ("POST", "/webhook?a=1") if channel == "chatwoot" else ("POST", "/hook?a=1")
