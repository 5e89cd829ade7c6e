-- Replaces the payloads of a transition; allowed only while an erasure record exists.
UPDATE transitions SET payloads = ?2 WHERE first_leaf = ?1;
