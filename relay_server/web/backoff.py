"""What is answered to whoever shows nothing good again and again."""

from __future__ import annotations

import structlog

from relay_protocol.errors import RelayError
from relay_server.errors import TooManyFailures, Unauthorized
from relay_server.web.context import Context
from relay_server.web.limits import Limit, group_of

log = structlog.get_logger()


def instead_of(error: Unauthorized, context: Context, address: str) -> RelayError:
    """Count a refusal against its address, and say what is answered.

    Whatever the reason, and whether or not a channel exists, the same is counted and answered. Who
    shows something good never comes here, from whatever address.
    """
    now = context.clock.monotonic()
    wait_s = context.failures.wrong(address, now)
    if not wait_s:
        return error
    context.metrics.limited.labels(Limit.FAILURES).inc()
    if times := context.seldom.due((Limit.FAILURES, group_of(address)), now):
        log.warning("too many failures", address=address, reason=error.reason, times=times)
    return TooManyFailures(wait_s)
