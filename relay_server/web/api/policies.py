"""What a request sets of a delivery policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from relay_server.configs import Policy, PolicyChanges, check
from relay_server.web.api.exchange import fields_of

PolicyFields = fields_of(Policy)
PolicyChangeFields = fields_of(Policy, optional=True)  # None is as its channel has it


def overridden(changes: PolicyChanges, fields: Mapping[str, Any] | None) -> PolicyChanges:
    """What a subscription does otherwise, with what a request sets of it; None drops it all.

    Raises:
        InvalidValue: A value is impossible.
    """
    if fields is None:
        return PolicyChanges()
    check(Policy, fields)
    return msgspec.structs.replace(changes, **fields)
