"""Bounds that both ends of the tunnel keep and hold each other to."""

from __future__ import annotations

SUBPROTOCOL = "relay.v1"

MAX_BODY_BYTES = 26_214_400  # 25 MiB: GitHub's own cap, the largest of the senders we know
MAX_HEAD_BYTES = 65_536  # all header names and values of one event together
MAX_HEAD_FIELDS = 256  # of one event; the server takes half as many
MAX_ID_CHARS = 128  # of an event or a delivery: clients remember thousands

# One frame must not hold up a heartbeat: 32 KiB take 0.26 s on a 1 Mbit/s link.
CHUNK_BYTES = 32_768
MAX_RESULT_BODY_BYTES = 65_536  # what is kept of a target's answer
MAX_RESULT_HEADERS = 128
MAX_ELAPSED_MS = 2_147_483_647  # 24 days
MAX_UNIX_MS = 253_402_300_799_999  # the end of the year 9999
MAX_FRAME_BYTES = 524_288  # the largest head, a result's body and the envelope fit with room

WINDOW_DELIVERIES = 32  # under way to one connection
WINDOW_BYTES = 4_194_304  # their bodies together; one larger body may go beside them
MAX_SUBSCRIPTIONS = 64  # of one connection

HEARTBEAT_S = 15.0
MISSED_HEARTBEATS = 2
LEASE_S = 35.0  # a target's default timeout of 30 s, and 5 s for the way
WORKING_INTERVAL_S = 10.0  # a lease survives two lost extensions
HANDSHAKE_S = 10.0
