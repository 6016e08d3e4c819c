"""Bounds that both ends of the tunnel keep and hold each other to.

4400 and 431 say what whoever exceeds one gets: `CloseCode.PROTOCOL_ERROR`, or that HTTP status.
"""

from __future__ import annotations

SUBPROTOCOL = "relay.v1"

MAX_BODY_BYTES = 26_214_400  # of a webhook: GitHub's own cap, the largest of the senders we know
MAX_HEAD_BYTES = 65_536  # all header names and values of one event together; more: 431
MAX_HEAD_FIELDS = 256  # of one event; the server takes half as many. More: 4400
MAX_ID_CHARS = 128  # of an event or a delivery: clients remember thousands. A longer one: 4400

# One frame must not hold up a heartbeat: 32 KiB take 0.26 s on a 1 Mbit/s link.
CHUNK_BYTES = 32_768
MAX_BATCH = 32  # messages in one frame: a window of them. More: 4400
# Kept of a target's answer; the result says `truncated`. More in a result: 4400.
MAX_RESULT_BODY_BYTES = 65_536
MAX_RESULT_HEADERS = 128  # kept of a target's answer; more in a result: 4400
MAX_ELAPSED_MS = 2_147_483_647  # 24 days; a result that took longer: 4400
# The end of the year 9999; a subscription that starts later: 4400.
MAX_UNIX_MS = 253_402_300_799_999
# The largest head, a result's body and the envelope fit with room; more: closed.
MAX_FRAME_BYTES = 524_288

WINDOW_DELIVERIES = 32  # under way to one connection; the next waits in the store
WINDOW_BYTES = 4_194_304  # their bodies together; one larger body may go beside them
MAX_SUBSCRIPTIONS = 64  # of one connection; more: 4400

HEARTBEAT_S = 15.0  # a ping after so long without one
MISSED_HEARTBEATS = 2  # and a third of one: then a connection is dead, and what it had is free
LEASE_S = 35.0  # unless extended: a target's default timeout of 30 s, and 5 s for the way
WORKING_INTERVAL_S = 10.0  # between two extensions: a lease survives two lost ones
HANDSHAKE_S = 10.0  # without a hello, or a welcome: closed
