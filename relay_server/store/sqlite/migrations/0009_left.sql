-- When the last reader of a subscription left. NULL while it is read, or was never.
ALTER TABLE subscriptions ADD COLUMN left_at INTEGER;
