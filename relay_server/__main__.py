"""Where the command `relay-server` begins.

A health check whose server is ready ends here: all other commands, and whatever there is to be said
of a server that is not, take imports that cost half a second.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress

from relay_terminal.beginning import begin


def main() -> None:
    """Run the command."""
    if sys.argv[1:] == ["health"] and _is_ready():
        with suppress(OSError):  # it is ready, whether or not somebody can be told
            os.write(1, b"ready\n")
        return
    begin(_load)


def _load() -> Callable[[], None]:
    from relay_server.cli import main as run

    return run


def _is_ready() -> bool:
    from relay_protocol.errors import RelayError
    from relay_server.files import absolute, default_data_dir, named_data_dir
    from relay_server.health import READY, state

    try:
        return state(absolute(named_data_dir() or default_data_dir())) == READY
    except RelayError:
        return False  # what is wrong is said where all errors are


if __name__ == "__main__":
    main()
