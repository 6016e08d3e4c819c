"""Where events are kept: one interface, a module for each backend."""
