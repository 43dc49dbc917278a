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
USING unnest($1::text[], $2::text[], $3::text[]) AS cancelled (entity_type, entity_id, name)
WHERE message.entity_id = ANY ($2) AND message.name IS NOT NULL
    AND message.entity_type = cancelled.entity_type AND message.entity_id = cancelled.entity_id
    AND message.name = cancelled.name
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
SELECT * FROM unnest($1::integer[], $2::text[], $3::text[], $4::bigint[], $5::integer[], $6::bytea[])
WHERE EXISTS (SELECT FROM gate);

-- state_update: stores states in the place of the versions before them.
UPDATE holdfast_state AS old
SET shard = new.shard, version = new.version, schema = new.schema, state = new.state
FROM unnest($1::integer[], $2::text[], $3::text[], $4::bigint[], $5::integer[], $6::bytea[])
    AS new (shard, entity_type, entity_id, version, schema, state)
WHERE old.entity_id = ANY ($3) AND old.entity_id = new.entity_id AND old.entity_type = new.entity_type
    AND old.version = new.version - 1 AND EXISTS (SELECT FROM gate)
RETURNING 1;

-- message_insert: stores durable messages.
INSERT INTO holdfast_message (
    id, shard, entity_type, entity_id, method, payload, payload_hash, key, headers, due_at, name, every_us, generation,
    deliveries, crashes, last_error, created_at, admitted_by
)
SELECT * FROM unnest(
    $1::bigint[], $2::integer[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::bytea[], $8::text[], $9::bytea[],
    $10::bigint[], $11::text[], $12::bigint[], $13::bigint[], $14::integer[], $15::integer[], $16::text[],
    $17::bigint[], $18::bigint[]
)
WHERE EXISTS (SELECT FROM gate);

-- done_insert: keeps the outcomes of durable messages.
INSERT INTO holdfast_done (
    id, shard, entity_type, entity_id, method, key, payload_hash, kind, outcome, deliveries, created_at, finished_at,
    admitted_by, finished_by
)
SELECT * FROM unnest(
    $1::bigint[], $2::integer[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bytea[], $8::smallint[],
    $9::bytea[], $10::integer[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[]
)
WHERE EXISTS (SELECT FROM gate);

-- message_retry: notes failed deliveries and when the next ones are due.
UPDATE holdfast_message AS message
SET deliveries = tried.deliveries, crashes = tried.crashes, due_at = tried.due_at, last_error = tried.last_error
FROM unnest($1::integer[], $2::integer[], $3::bigint[], $4::text[], $5::bigint[])
    AS tried (deliveries, crashes, due_at, last_error, id)
WHERE message.id = ANY ($5) AND message.id = tried.id AND EXISTS (SELECT FROM gate)
RETURNING 1;

-- dead_message_insert: keeps messages that used up their deliveries.
INSERT INTO holdfast_dead_message (
    id, shard, entity_type, entity_id, method, payload, payload_hash, key, headers, deliveries, crashes, last_error,
    created_at, died_at
)
SELECT * FROM unnest(
    $1::bigint[], $2::integer[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::bytea[], $8::text[], $9::bytea[],
    $10::integer[], $11::integer[], $12::text[], $13::bigint[], $14::bigint[]
)
WHERE EXISTS (SELECT FROM gate);

-- inbox_insert: leaves something for the owners of shards.
INSERT INTO holdfast_inbox (id, shard, kind, body, created_at)
SELECT * FROM unnest($1::bigint[], $2::integer[], $3::smallint[], $4::bytea[], $5::bigint[])
WHERE EXISTS (SELECT FROM gate);

-- inbox_notify: wakes those who listen, once for the whole batch.
SELECT pg_notify('holdfast_inbox', current_schema()) FROM gate;

-- job_replay: marks dead jobs replayed.
UPDATE holdfast_job_archive AS job SET replayed_at = replay.replayed_at
FROM unnest($1::bigint[], $2::bigint[]) AS replay (replayed_at, id)
WHERE job.id = ANY ($2) AND job.id = replay.id
    AND job.state = 'dead' AND job.replayed_at IS NULL AND job.discarded_at IS NULL AND EXISTS (SELECT FROM gate)
RETURNING 1;

-- job_insert: stores jobs.
INSERT INTO holdfast_job (
    id, shard, job_type, priority, payload, payload_hash, key, "group", max_attempts, timeout_us, due_at, eligible_at,
    attempt, crashes, last_error, created_at, admitted_by, replay_of, headers
)
SELECT * FROM unnest(
    $1::bigint[], $2::integer[], $3::text[], $4::smallint[], $5::bytea[], $6::bytea[], $7::text[], $8::text[],
    $9::integer[], $10::bigint[], $11::bigint[], $12::bigint[], $13::integer[], $14::integer[], $15::text[],
    $16::bigint[], $17::bigint[], $18::bigint[], $19::bytea[]
)
WHERE EXISTS (SELECT FROM gate);

-- job_delete: takes live jobs away that have ended, each at the attempt that ended it.
DELETE FROM holdfast_job AS job
USING unnest($1::bigint[], $2::integer[]) AS ended (id, expected)
WHERE job.id = ANY ($1) AND job.id = ended.id AND job.attempt = ended.expected AND EXISTS (SELECT FROM fence)
RETURNING job.*;

-- job_keys_crossed: finds jobs stored under a key that only a later end frees; in one unit, ends come after.
SELECT 1 FROM job_delete AS gone
JOIN unnest($1::bigint[], $2::integer[]) AS taken (id, unit) ON taken.id = gone.id
JOIN unnest($3::text[], $4::text[], $5::text[], $6::integer[]) AS fresh (job_type, "group", key, unit)
    ON fresh.job_type = gone.job_type AND coalesce(fresh."group", '') = coalesce(gone."group", '')
WHERE fresh.key = gone.key AND fresh.unit <= taken.unit;

-- job_archive: keeps ended jobs with their ends; only a dead one keeps its payload, for a replay.
INSERT INTO holdfast_job_archive (
    id, shard, job_type, priority, payload, payload_hash, key, "group", max_attempts, timeout_us, state, result, error,
    reason, attempts, created_at, finished_at, admitted_by, finished_by, replay_of, replayed_at, discarded_at
)
SELECT
    job.id, job.shard, job.job_type, job.priority, CASE ended.state WHEN 'dead' THEN job.payload ELSE '' END,
    job.payload_hash, job.key, job."group", job.max_attempts, job.timeout_us, ended.state, ended.result, ended.error,
    ended.reason, ended.attempts, job.created_at, ended.finished_at, job.admitted_by, ended.finished_by, job.replay_of,
    NULL, NULL
FROM job_delete AS job
JOIN unnest($1::bigint[], $2::text[], $3::bytea[], $4::text[], $5::text[], $6::integer[], $7::bigint[], $8::bigint[])
    AS ended (id, state, result, error, reason, attempts, finished_at, finished_by) ON ended.id = job.id
WHERE EXISTS (SELECT FROM gate);

-- archive_insert: keeps jobs that were never live with their ends.
INSERT INTO holdfast_job_archive (
    id, shard, job_type, priority, payload, payload_hash, key, "group", max_attempts, timeout_us, state, result, error,
    reason, attempts, created_at, finished_at, admitted_by, finished_by, replay_of, replayed_at, discarded_at
)
SELECT * FROM unnest(
    $1::bigint[], $2::integer[], $3::text[], $4::smallint[], $5::bytea[], $6::bytea[], $7::text[], $8::text[],
    $9::integer[], $10::bigint[], $11::text[], $12::bytea[], $13::text[], $14::text[], $15::integer[], $16::bigint[],
    $17::bigint[], $18::bigint[], $19::bigint[], $20::bigint[], $21::bigint[], $22::bigint[]
)
WHERE EXISTS (SELECT FROM gate);

-- job_retry: notes ended attempts and when the next ones are due.
UPDATE holdfast_job AS job
SET attempt = tried.attempt, crashes = tried.crashes, due_at = tried.due_at, eligible_at = tried.eligible_at,
    last_error = tried.last_error
FROM unnest($1::integer[], $2::integer[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[], $7::integer[])
    AS tried (attempt, crashes, due_at, eligible_at, last_error, id, expected)
WHERE job.id = ANY ($6) AND job.id = tried.id AND job.attempt = tried.expected AND EXISTS (SELECT FROM gate)
RETURNING 1;

-- job_discard: marks dead jobs discarded.
UPDATE holdfast_job_archive AS job SET discarded_at = discard.discarded_at
FROM unnest($1::bigint[], $2::bigint[]) AS discard (discarded_at, id)
WHERE job.id = ANY ($2) AND job.id = discard.id
    AND job.state = 'dead' AND job.replayed_at IS NULL AND job.discarded_at IS NULL AND EXISTS (SELECT FROM gate)
RETURNING 1;

-- start_insert: records attempts that are about to start.
INSERT INTO holdfast_start (id, owner, executor, attempts, started_at)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[], $5::bigint[])
WHERE EXISTS (SELECT FROM gate);

-- start_end: takes start records away whose attempts have ended.
DELETE FROM holdfast_start WHERE id = ANY ($1::bigint[]) AND EXISTS (SELECT FROM gate) RETURNING 1;
