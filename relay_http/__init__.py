"""Posting a delivery to a target, byte for byte: I/O, and no decisions about what follows."""
