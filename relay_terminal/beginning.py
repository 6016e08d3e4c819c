"""How a command begins: it ends without a traceback where Ctrl-C comes before all is loaded."""

from __future__ import annotations

import signal
from collections.abc import Callable


def begin(load: Callable[[], Callable[[], None]]) -> None:
    """Load a command, and run it; what is loaded decides itself what Ctrl-C means then."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # not where it is ignored, as with nohup
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    run = load()
    signal.signal(signal.SIGINT, before)
    run()
