"""From the store to whoever reads: sources, order, queues, readers and who is connected."""
