"""Each bound taken away in turn, to see that a test notices."""
