-- fence: proves that the writer has not been fenced out, and holds a reaper up until its transaction ends.
SELECT 1 FROM holdfast_fence WHERE runner_id = $1 AND slot = $2 FOR KEY SHARE;

-- fence_mark: notes which batch of the session this is, for whoever asks later whether it committed.
UPDATE holdfast_fence SET flushes = $3 WHERE runner_id = $1 AND slot = $2 AND EXISTS (SELECT FROM fence);

-- message_consume: takes stored messages away.
DELETE FROM holdfast_message WHERE id = ANY ($1::bigint[]) AND EXISTS (SELECT FROM fence)
RETURNING id, entity_type, entity_id, method, key, name;

-- inbox_take: takes inbox rows away.
DELETE FROM holdfast_inbox WHERE id = ANY ($1::bigint[]) AND EXISTS (SELECT FROM fence) RETURNING 1;

-- dead_message_end: takes dead letters away that were replayed or discarded.
DELETE FROM holdfast_dead_message WHERE id = ANY ($1::bigint[]) AND EXISTS (SELECT FROM fence) RETURNING 1;

-- timer_cancel: takes the pending timers of these names away.
DELETE FROM holdfast_message AS message
USING unnest($1::holdfast_timer_name[]) AS cancelled
WHERE message.entity_id = ANY (ARRAY(SELECT entity_id FROM unnest($1::holdfast_timer_name[])))
    AND message.entity_type = cancelled.entity_type AND message.entity_id = cancelled.entity_id
    AND message.name = cancelled.name AND message.name IS NOT NULL
    AND EXISTS (SELECT FROM fence)
RETURNING 1;

-- message_keys_crossed: finds messages stored under a key or a name that only a later unit of the batch frees.
SELECT 1 FROM message_consume AS gone
JOIN unnest($1::bigint[], $2::integer[]) AS taken (id, unit) ON taken.id = gone.id
JOIN unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::integer[])
    AS fresh (entity_type, entity_id, method, key, name, unit)
    ON fresh.entity_type = gone.entity_type AND fresh.entity_id = gone.entity_id
WHERE (gone.key IS NOT NULL OR gone.name IS NOT NULL) AND fresh.unit < taken.unit
    AND (fresh.method = gone.method AND fresh.key = gone.key OR fresh.name = gone.name);

-- state_insert: stores the first versions of entities' states.
INSERT INTO holdfast_state (shard, entity_type, entity_id, version, schema, state)
SELECT * FROM unnest($1::holdfast_state_row[])
WHERE EXISTS (SELECT FROM gate);

-- state_update: stores states in the place of the versions before them.
UPDATE holdfast_state AS old
SET shard = new.shard, version = new.version, schema = new.schema, state = new.state
FROM unnest($1::holdfast_state_row[]) AS new
WHERE old.entity_id = ANY (ARRAY(SELECT entity_id FROM unnest($1::holdfast_state_row[])))
    AND old.entity_id = new.entity_id AND old.entity_type = new.entity_type AND old.version = new.version - 1
    AND EXISTS (SELECT FROM gate)
RETURNING 1;

-- message_insert: stores durable messages.
INSERT INTO holdfast_message (
    id, shard, entity_type, entity_id, method, payload, payload_hash, key, headers, due_at, name, every_us, generation,
    deliveries, crashes, last_error, created_at, admitted_by
)
SELECT * FROM unnest($1::holdfast_message_row[])
WHERE EXISTS (SELECT FROM gate);

-- done_insert: keeps the outcomes of durable messages.
INSERT INTO holdfast_done (
    id, shard, entity_type, entity_id, method, key, payload_hash, kind, outcome, deliveries, created_at, finished_at,
    admitted_by, finished_by
)
SELECT * FROM unnest($1::holdfast_done_row[])
WHERE EXISTS (SELECT FROM gate);

-- message_retry: notes failed deliveries and when the next ones are due.
UPDATE holdfast_message AS message
SET deliveries = tried.deliveries, crashes = tried.crashes, due_at = tried.due_at, last_error = tried.last_error
FROM unnest($1::holdfast_message_retry[]) AS tried
WHERE message.id = ANY (ARRAY(SELECT id FROM unnest($1::holdfast_message_retry[])))
    AND message.id = tried.id AND EXISTS (SELECT FROM gate)
RETURNING 1;

-- dead_message_insert: keeps messages that used up their deliveries.
INSERT INTO holdfast_dead_message (
    id, shard, entity_type, entity_id, method, payload, payload_hash, key, headers, deliveries, crashes, last_error,
    created_at, died_at
)
SELECT * FROM unnest($1::holdfast_dead_message_row[])
WHERE EXISTS (SELECT FROM gate);

-- inbox_insert: leaves something for the owners of shards.
INSERT INTO holdfast_inbox (id, shard, kind, body, created_at)
SELECT * FROM unnest($1::holdfast_inbox_row[])
WHERE EXISTS (SELECT FROM gate);

-- inbox_notify: wakes those who listen, once for the whole batch.
SELECT pg_notify('holdfast_inbox', current_schema()) FROM gate;

-- job_replay: marks dead jobs replayed.
UPDATE holdfast_job_archive AS job SET replayed_at = replay.moment
FROM unnest($1::holdfast_job_mark[]) AS replay
WHERE job.id = ANY (ARRAY(SELECT id FROM unnest($1::holdfast_job_mark[]))) AND job.id = replay.id
    AND job.state = 'dead' AND job.replayed_at IS NULL AND job.discarded_at IS NULL AND EXISTS (SELECT FROM gate)
RETURNING 1;

-- job_ended: finds finished jobs among those that are to be new.
SELECT 1 FROM holdfast_job_archive WHERE id = ANY ($1::bigint[]) AND EXISTS (SELECT FROM gate);

-- job_keys_held: finds jobs, live or finished, with keys of those that are to be new; no join, so each is looked up.
SELECT 1 FROM unnest($1::text[], $2::text[], $3::text[]) AS fresh (job_type, "group", key)
WHERE EXISTS (SELECT FROM gate) AND (
    (
        SELECT true FROM holdfast_job AS live
        WHERE live.job_type = fresh.job_type AND coalesce(live."group", '') = fresh."group" AND live.key = fresh.key LIMIT 1
    )
    OR (
        SELECT true FROM holdfast_job_archive AS ended
        WHERE ended.job_type = fresh.job_type AND coalesce(ended."group", '') = fresh."group" AND ended.key = fresh.key
        LIMIT 1
    )
);

-- job_insert: stores jobs.
INSERT INTO holdfast_job (
    id, shard, job_type, priority, payload, payload_hash, key, "group", max_attempts, timeout_us, due_at, eligible_at,
    attempt, crashes, last_error, created_at, admitted_by, replay_of, headers
)
SELECT * FROM unnest($1::holdfast_job_row[])
WHERE EXISTS (SELECT FROM gate);

-- job_delete: takes live jobs away that have ended, each at the attempt that ended it.
DELETE FROM holdfast_job AS job
USING unnest($1::holdfast_job_end[]) AS ended
WHERE job.id = ANY (ARRAY(SELECT id FROM unnest($1::holdfast_job_end[])))
    AND job.id = ended.id AND job.attempt = ended.expected AND EXISTS (SELECT FROM fence)
RETURNING
    job.id, job.shard, job.job_type, job.priority, CASE ended.state WHEN 'dead' THEN job.payload ELSE '' END AS payload,
    job.payload_hash, job.key, job."group", job.max_attempts, job.timeout_us, ended.state, ended.result, ended.error,
    ended.reason, ended.attempts, job.created_at, ended.finished_at, job.admitted_by, ended.finished_by, job.replay_of;

-- job_keys_crossed: finds jobs stored under a key that only a later end frees; in one unit, ends come after.
SELECT 1 FROM job_delete AS gone
JOIN unnest($1::bigint[], $2::integer[]) AS taken (id, unit) ON taken.id = gone.id
JOIN unnest($3::text[], $4::text[], $5::text[], $6::integer[]) AS fresh (job_type, "group", key, unit)
    ON fresh.job_type = gone.job_type AND coalesce(fresh."group", '') = coalesce(gone."group", '')
WHERE fresh.key = gone.key AND fresh.unit <= taken.unit;

-- job_archive: keeps ended jobs with their ends; only a dead one keeps its payload, for a replay.
INSERT INTO holdfast_job_archive (
    id, shard, job_type, priority, payload, payload_hash, key, "group", max_attempts, timeout_us, state, result, error,
    reason, attempts, created_at, finished_at, admitted_by, finished_by, replay_of
)
SELECT * FROM job_delete WHERE EXISTS (SELECT FROM gate);

-- archive_insert: keeps jobs that were never live with their ends.
INSERT INTO holdfast_job_archive (
    id, shard, job_type, priority, payload, payload_hash, key, "group", max_attempts, timeout_us, state, result, error,
    reason, attempts, created_at, finished_at, admitted_by, finished_by, replay_of, replayed_at, discarded_at
)
SELECT * FROM unnest($1::holdfast_archived_job[])
WHERE EXISTS (SELECT FROM gate);

-- job_retry: notes ended attempts and when the next ones are due.
UPDATE holdfast_job AS job
SET attempt = tried.attempt, crashes = tried.crashes, due_at = tried.due_at, eligible_at = tried.eligible_at,
    last_error = tried.last_error
FROM unnest($1::holdfast_job_retry[]) AS tried
WHERE job.id = ANY (ARRAY(SELECT id FROM unnest($1::holdfast_job_retry[])))
    AND job.id = tried.id AND job.attempt = tried.expected AND EXISTS (SELECT FROM gate)
RETURNING 1;

-- job_discard: marks dead jobs discarded.
UPDATE holdfast_job_archive AS job SET discarded_at = discard.moment
FROM unnest($1::holdfast_job_mark[]) AS discard
WHERE job.id = ANY (ARRAY(SELECT id FROM unnest($1::holdfast_job_mark[]))) AND job.id = discard.id
    AND job.state = 'dead' AND job.replayed_at IS NULL AND job.discarded_at IS NULL AND EXISTS (SELECT FROM gate)
RETURNING 1;

-- start_insert: records attempts that are about to start.
INSERT INTO holdfast_start (id, owner, executor, attempts, started_at)
SELECT * FROM unnest($1::holdfast_start_row[])
WHERE EXISTS (SELECT FROM gate);

-- start_end: takes start records away whose attempts have ended.
DELETE FROM holdfast_start WHERE id = ANY ($1::bigint[]) AND EXISTS (SELECT FROM gate) RETURNING 1;
