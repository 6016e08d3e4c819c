"""The relay's server: takes webhooks, stores them, pushes them to whoever reads."""
