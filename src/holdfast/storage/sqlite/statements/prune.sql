-- prune_done_scan: looks at a slice of outcomes; one of a dead letter (kind 2) stays as long as the letter.
SELECT
    id, created_at >= :before,
    finished_at < :before AND (kind <> 2 OR NOT EXISTS (
        SELECT 1 FROM holdfast_dead_message WHERE holdfast_dead_message.id = holdfast_done.id
    )),
    entity_type, kind = 2, deliveries, admitted_by
FROM holdfast_done WHERE id > :after ORDER BY id LIMIT :slice;

-- prune_done_delete: takes an outcome away.
DELETE FROM holdfast_done WHERE id = ?;

-- prune_archive_scan: looks at a slice of finished jobs; a dead one stays until it was replayed or discarded.
SELECT
    id, created_at >= :before,
    finished_at < :before AND (state <> 'dead' OR replayed_at IS NOT NULL OR discarded_at IS NOT NULL),
    job_type, priority, state, replayed_at IS NOT NULL, discarded_at IS NOT NULL, replay_of IS NULL, admitted_by
FROM holdfast_job_archive WHERE id > :after ORDER BY id LIMIT :slice;

-- prune_archive_delete: takes a finished job away.
DELETE FROM holdfast_job_archive WHERE id = ?;

-- prune_tally: adds to what was counted of rows that are gone.
INSERT INTO holdfast_tally (kind, name, priority, what, count) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (kind, name, priority, what) DO UPDATE SET count = count + excluded.count;
