"""What a request sets of a delivery policy."""

from __future__ import annotations

import msgspec

from relay_server.channels import check_policy
from relay_server.configs import Policy, PolicyChanges


class PolicyFields(msgspec.Struct, forbid_unknown_fields=True):
    """Of a channel: what is unset stays as it is."""

    retry_delays_s: tuple[float, ...] | msgspec.UnsetType = msgspec.UNSET
    other_tries: int | msgspec.UnsetType = msgspec.UNSET
    hold_failures: int | msgspec.UnsetType = msgspec.UNSET
    hold_s: float | msgspec.UnsetType = msgspec.UNSET
    strict_order: bool | msgspec.UnsetType = msgspec.UNSET


class PolicyChangeFields(msgspec.Struct, forbid_unknown_fields=True):
    """Of a subscription: None is as its channel has it."""

    retry_delays_s: tuple[float, ...] | msgspec.UnsetType | None = msgspec.UNSET
    other_tries: int | msgspec.UnsetType | None = msgspec.UNSET
    hold_failures: int | msgspec.UnsetType | None = msgspec.UNSET
    hold_s: float | msgspec.UnsetType | None = msgspec.UNSET
    strict_order: bool | msgspec.UnsetType | None = msgspec.UNSET


def changed(policy: Policy, fields: PolicyFields) -> Policy:
    """A channel's policy with what a request sets of it."""
    return msgspec.structs.replace(policy, **_given(fields))


def overridden(changes: PolicyChanges, fields: PolicyChangeFields | None) -> PolicyChanges:
    """What a subscription does otherwise, with what a request sets of it; None drops it all.

    Raises:
        InvalidValue: A value is impossible.
    """
    new = msgspec.structs.replace(changes, **_given(fields)) if fields else PolicyChanges()
    check_policy(new.applied_to(Policy()))
    return new


def _given(fields: PolicyFields | PolicyChangeFields) -> dict[str, object]:
    values = {name: getattr(fields, name) for name in fields.__struct_fields__}
    return {name: value for name, value in values.items() if value is not msgspec.UNSET}
