"""Brings webhooks from a relay to the machine you develop on."""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__: str

if not TYPE_CHECKING:

    def __getattr__(name: str) -> str:
        """Look the version up when it is asked for: a command begins with few imports."""
        if name != "__version__":
            raise AttributeError(name)
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("relay-tunnel")
        except PackageNotFoundError:  # run from a source tree that was not installed
            return "0+unknown"
