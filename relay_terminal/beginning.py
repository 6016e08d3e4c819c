"""How a command begins and ends: without a traceback, whenever Ctrl-C comes."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

INTERRUPTED = 128 + signal.SIGINT  # as a shell has it, of a command that ends by Ctrl-C


def begin(load: Callable[[], Callable[[], None]]) -> None:
    """Load a command, and run it; what is loaded decides itself what Ctrl-C means then."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:  # it is ignored, as with nohup
        load()()
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    run = load()
    try:
        signal.signal(signal.SIGINT, before)
        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    finally:  # what is left is the interpreter's own end
        try:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        except KeyboardInterrupt:  # it came before that was done
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            sys.exit(INTERRUPTED)
