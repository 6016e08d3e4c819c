"""Why the demo cannot go on."""

from __future__ import annotations


class DemoFailed(Exception):
    """Says what happened, and what to do."""
