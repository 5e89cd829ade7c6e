-- Keeps a signed checkpoint.
INSERT INTO checkpoints (size, root, note, signed_at) VALUES (?1, ?2, ?3, ?4);
