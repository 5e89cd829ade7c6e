-- Whether a run is due that nobody holds and that this version knows.
SELECT EXISTS (SELECT 1 FROM run_queue WHERE owner IS NULL AND wake_at <= ?1 AND format <= ?2);
