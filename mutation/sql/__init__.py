"""Each query of the SQLite store made slightly wrong, to see that a test notices."""
