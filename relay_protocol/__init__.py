"""What crosses the tunnel: values, messages, codec and both halves' state machines.

Nothing in this package does I/O or reads a clock.
"""
