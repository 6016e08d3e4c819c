"""Programs that show Relay at work; not part of the distribution."""
