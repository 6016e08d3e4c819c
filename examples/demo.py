"""Shows Relay at work on this machine: `make demo`, or `.venv/bin/python examples/demo.py`."""

from __future__ import annotations

import sys

try:
    from examples.demo_parts.story import main
    from relay_terminal.streams import standard_streams
except ModuleNotFoundError as exc:
    sys.exit(f"The demo cannot start: {exc}.\n`make demo` installs what it needs, and starts it.")

if __name__ == "__main__":
    with standard_streams():  # the terminal may be gone by its end
        sys.exit(main(sys.argv[1:]))
