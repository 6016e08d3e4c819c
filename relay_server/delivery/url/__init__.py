"""Sinks that are URLs: subscriptions that the server itself reads, and posts to a target."""
