"""Mutation tests: does a test fail when the code says something else? See README.md."""
