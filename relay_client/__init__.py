"""Brings webhooks from a relay to the machine you develop on."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("relay-tunnel")
except PackageNotFoundError:  # run from a source tree that was not installed
    __version__ = "0+unknown"
