"""What both programs do alike by I/O, with no decisions about what follows.

A delivery is posted to a target, byte for byte; TLS and standard streams are what both need.
"""
