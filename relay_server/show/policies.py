"""Policies and sizes."""

from __future__ import annotations

from collections.abc import Container, Sequence

from relay_server.show.text import Json, counted


def policy_lines(policy: Json, own: Container[str] | None = None) -> Json:
    """A line a rule.

    Args:
        policy: What holds in the end.
        own: Names of what a subscription does otherwise than its channel; None of a channel.
    """
    order = "an event that fails holds its key until it is settled"
    if not policy["strict_order"]:
        failures = counted(policy["hold_failures"], "failure", "failures")
        order = f"a failing event holds its key for {failures} or {span(policy['hold_s'])}"
    shown = {
        "retried after": (_delays(policy["retry_delays_s"]), ("retry_delays_s",)),
        "other answers": (counted(policy["other_tries"], "try", "tries"), ("other_tries",)),
        "order": (order, ("strict_order", "hold_failures", "hold_s")),
    }
    return {name: text + _whose(names, own) for name, (text, names) in shown.items()}


def span(seconds: float) -> str:
    """A span as the commands take it, e.g. `2m`."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds // size:g}{unit}"
    return f"{seconds:g}s"


def size(number: int) -> str:
    """Bytes, roughly."""
    for unit, factor in (("GiB", 1_073_741_824), ("MiB", 1_048_576), ("KiB", 1_024)):
        if number >= factor:
            return f"{number / factor:.3g} {unit}"
    return f"{number} bytes"


def _delays(delays: Sequence[float]) -> str:
    return ",".join(map(span, delays)) or "never: the first failure is the end"


def _whose(names: Sequence[str], own: Container[str] | None) -> str:
    if own is None:
        return ""
    return " (its own)" if any(name in own for name in names) else " (as its channel)"
