"""From the store to whoever reads: scheduling, retries, pumps and who is connected."""
