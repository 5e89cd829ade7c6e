-- Gives back every claim: whoever made them is gone, because this process holds the engine lock.
UPDATE run_queue SET owner = NULL, wake_at = coalesce(wake_at, 0) WHERE owner IS NOT NULL;
