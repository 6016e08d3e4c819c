"""States as people read them, of deliveries."""

from __future__ import annotations

from relay_terminal.words import _


def state_of(delivery: str, attempt: int) -> str:
    """Say a delivery's state, as the API names it, after so many attempts."""
    words = {
        "pending": _("waiting"),
        "under_way": _("under way"),
        "waiting": _("retrying") if attempt else _("waiting"),
        "delivered": _("delivered"),
        "dead": _("dead"),
        "discarded": _("discarded"),
        "skipped": _("skipped"),
        "expired": _("expired"),
    }
    return words.get(delivery, delivery)
