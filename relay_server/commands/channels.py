"""What commands set of a channel, as the API takes it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from relay_server.commands.calls import Json
from relay_server.commands.policies import read_size
from relay_server.errors import InvalidValue

MAX_SECRET_BYTES = 1_024


def channel_fields(
    *,
    hmac_secret_files: Sequence[Path] | None,
    max_body_bytes: int | None,
    allow_from: Sequence[str] | None,
    max_bytes: str | None = None,
    rate_per_s: float | None = None,
    policy: Json | None = None,
    **simple: object,
) -> Json:
    """What a command sets of a channel, as the API takes it."""
    fields: Json = {name: value for name, value in simple.items() if value is not None}
    if hmac_secret_files is not None:
        fields["hmac_secrets"] = [read_secret(path) for path in hmac_secret_files]
    if max_body_bytes is not None:
        fields["max_body_bytes"] = max_body_bytes or None
    if max_bytes is not None:
        fields["max_bytes"] = read_size(max_bytes) or None
    if rate_per_s is not None:
        fields["rate_per_s"] = rate_per_s or None
    if policy:
        fields["policy"] = policy
    if allow_from:
        fields["allow_from"] = [network for network in allow_from if network]
    return fields


def read_secret(path: Path, limit: int = MAX_SECRET_BYTES) -> str:
    """What a file holds, without the white space around it; `-` is a line of standard input.

    Raises:
        InvalidValue: It cannot be read, or holds too little or too much.
    """
    try:
        secret = sys.stdin.readline() if str(path) == "-" else path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise InvalidValue(f"the secret file {path} cannot be read: {exc}") from exc
    if not secret.strip() or len(secret) > limit:
        raise InvalidValue(f"{path} holds no secret of 1 to {limit} characters")
    return secret.strip()
