"""The one error that ends a bench run."""


class BenchError(Exception):
    """The run cannot go on; the text says what happened and what to do about it."""
