"""What a token looks like, so that both ends can say what is wrong with one that is not good."""

from __future__ import annotations

TOKEN_PREFIX = "rly_"  # noqa: S105  (what our tokens begin with, so that leaks are found)
TOKEN_CHARS = len(TOKEN_PREFIX) + 43  # 256 bits of randomness, as base64 has them
