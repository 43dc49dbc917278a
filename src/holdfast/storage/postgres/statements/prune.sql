-- prune_done_scan: looks at a slice of outcomes; one of a dead letter (kind 2) stays as long as the letter.
SELECT
    id, created_at >= $1,
    finished_at < $1 AND (kind <> 2 OR NOT EXISTS (
        SELECT FROM holdfast_dead_message WHERE holdfast_dead_message.id = holdfast_done.id
    ))
FROM holdfast_done WHERE id > $2 ORDER BY id LIMIT $3;

-- prune_done_delete: takes outcomes away and tells what they count for.
DELETE FROM holdfast_done WHERE id = ANY ($1::bigint[])
RETURNING entity_type, kind = 2, deliveries, admitted_by;

-- prune_archive_scan: looks at a slice of finished jobs; a dead one stays until it was replayed or discarded.
SELECT
    id, created_at >= $1,
    finished_at < $1 AND (state <> 'dead' OR replayed_at IS NOT NULL OR discarded_at IS NOT NULL)
FROM holdfast_job_archive WHERE id > $2 ORDER BY id LIMIT $3;

-- prune_archive_delete: takes finished jobs away and tells what they count for.
DELETE FROM holdfast_job_archive WHERE id = ANY ($1::bigint[])
RETURNING
    job_type, priority, state, replayed_at IS NOT NULL, discarded_at IS NOT NULL, replay_of IS NULL, admitted_by;

-- prune_tally: adds to what was counted of rows that are gone.
INSERT INTO holdfast_tally (kind, name, priority, what, count)
SELECT * FROM unnest($1::text[], $2::text[], $3::integer[], $4::text[], $5::bigint[])
ON CONFLICT (kind, name, priority, what) DO UPDATE SET count = holdfast_tally.count + excluded.count;
