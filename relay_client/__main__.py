"""Where the command `relay-client` begins."""

from __future__ import annotations

from collections.abc import Callable

from relay_terminal.beginning import begin


def main() -> None:
    """Run the command."""
    begin(_load)


def _load() -> Callable[[], None]:
    from relay_client.cli import main as run

    return run


if __name__ == "__main__":
    main()
