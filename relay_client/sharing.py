"""Noticing that a relay is too old to share a subscription's work."""

from __future__ import annotations

import re
from collections.abc import Callable

from relay_client.notices import Connected, Notice, Warned
from relay_protocol.text import harmless

SHARING_SINCE = (0, 1, 0)  # the first version whose server knows `share`; older ones take over


class SharingWatch:
    """Hands notices on, and after a welcome of an older relay a warning, once.

    Args:
        tell: Takes the notices.
    """

    def __init__(self, tell: Callable[[Notice], None]) -> None:
        self._tell = tell
        self._warned = False

    def __call__(self, notice: Notice) -> None:
        """Hand a notice on."""
        self._tell(notice)
        match notice:
            case Connected(welcome) if not self._warned and not can_share(welcome.version):
                self._warned = True
                self._tell(
                    Warned(
                        f"the relay has version {harmless(welcome.version, 40)}, which knows no "
                        "--share: this client took over from others of its name."
                    )
                )
            case _:
                pass


def can_share(version: str) -> bool:
    """Say whether a server of this version shares; one that names no number is a new one."""
    numbers = re.match(r"(\d{1,9})\.(\d{1,9})(?:\.(\d{1,9}))?", version)
    return numbers is None or tuple(int(n or 0) for n in numbers.groups()) >= SHARING_SINCE
