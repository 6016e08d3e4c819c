"""Changes reach those who listen, in order, whatever one of them does."""

from __future__ import annotations

from structlog.testing import capture_logs

from relay_server.store.feed import Claimed, EventsStored, Feed, TokenRevoked


def test_each_kind_reaches_its_own_listeners_in_order() -> None:
    feed, heard = Feed(), list[object]()
    feed.listen(Claimed, heard.append)
    feed.listen(Claimed, lambda change: heard.append(change.epoch))
    feed.listen(TokenRevoked, lambda change: heard.append(change.name))

    for change in (Claimed(1, 7), EventsStored(1, 2), TokenRevoked("ana")):
        feed.tell(change)

    assert heard == [Claimed(1, 7), 7, "ana"]


def test_a_listener_that_fails_costs_the_others_nothing() -> None:
    feed, heard = Feed(), list[Claimed]()

    def fails(_: Claimed) -> None:
        raise KeyError("a bug")

    feed.listen(Claimed, fails)
    feed.listen(Claimed, heard.append)
    with capture_logs() as logs:
        feed.tell(Claimed(1, 7))

    assert heard == [Claimed(1, 7)]
    assert [(line["event"], line["change"]) for line in logs] == [("a listener failed", "Claimed")]


def test_whoever_stops_hears_no_more_also_while_it_is_told() -> None:
    feed, heard = Feed(), list[str]()

    def hear(change: TokenRevoked) -> None:
        heard.append(change.name)
        stop()

    stop = feed.listen(TokenRevoked, hear)
    feed.listen(TokenRevoked, lambda change: heard.append(change.name.upper()))
    for name in ("ana", "bia"):
        feed.tell(TokenRevoked(name))

    assert heard == ["ana", "ANA", "BIA"]
