"""How late the event loop is: whatever holds it up holds up every webhook."""

from __future__ import annotations

import asyncio

import structlog

from relay_server.clock import Clock
from relay_server.metrics import Metrics
from relay_server.throttle import Throttle

log = structlog.get_logger()

LAG_LOOK_S = 0.5  # between two looks at the event loop's lag
LAG_WARN_S = 0.5  # a longer lag is a warning in the log


async def measure(clock: Clock, metrics: Metrics, throttle: Throttle) -> None:
    """Wake up now and then, and see how much too late, until cancelled."""
    while True:
        due = clock.monotonic() + LAG_LOOK_S
        await asyncio.sleep(LAG_LOOK_S)
        now = clock.monotonic()
        late_s = max(0.0, now - due)
        metrics.loop_lag_seconds.observe(late_s)
        if late_s > LAG_WARN_S and (times := throttle.due("lag", now)):
            log.warning("the event loop was held up", seconds=round(late_s, 3), times=times)
