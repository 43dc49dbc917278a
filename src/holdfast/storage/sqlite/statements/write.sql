-- fence: proves that the incarnation of the writer has not been reaped.
SELECT 1 FROM holdfast_runner WHERE runner_id = ?;

-- message_consume: takes a stored message away.
DELETE FROM holdfast_message WHERE id = ?;

-- inbox_take: takes an inbox row away.
DELETE FROM holdfast_inbox WHERE id = ?;

-- dead_message_end: takes a dead letter away that was replayed or discarded.
DELETE FROM holdfast_dead_message WHERE id = ?;

-- timer_cancel: takes the pending timer of a name away.
DELETE FROM holdfast_message WHERE entity_type = ? AND entity_id = ? AND name = ?;

-- state_insert: stores the first version of an entity's state.
INSERT INTO holdfast_state (shard, entity_type, entity_id, version, schema, state) VALUES (?, ?, ?, ?, ?, ?);

-- state_update: stores a state in the place of the version before it.
UPDATE holdfast_state SET shard = ?1, version = ?4, schema = ?5, state = ?6
WHERE entity_type = ?2 AND entity_id = ?3 AND version = ?4 - 1;

-- message_insert: stores a durable message.
INSERT INTO holdfast_message (
    id, shard, entity_type, entity_id, method, payload, payload_hash, key, headers, due_at, name, every_us, generation,
    deliveries, crashes, last_error, created_at, admitted_by
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- done_insert: keeps the outcome of a durable message.
INSERT INTO holdfast_done (
    id, shard, entity_type, entity_id, method, key, payload_hash, kind, outcome, deliveries, created_at, finished_at,
    admitted_by, finished_by
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- message_retry: notes a failed delivery and when the next one is due.
UPDATE holdfast_message SET deliveries = ?, crashes = ?, due_at = ?, last_error = ? WHERE id = ?;

-- dead_message_insert: keeps a message that used up its deliveries.
INSERT INTO holdfast_dead_message (
    id, shard, entity_type, entity_id, method, payload, payload_hash, key, headers, deliveries, crashes, last_error,
    created_at, died_at
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- inbox_insert: leaves something for the owner of a shard.
INSERT INTO holdfast_inbox (id, shard, kind, body, created_at) VALUES (?, ?, ?, ?, ?);

-- job_insert: stores a job.
INSERT INTO holdfast_job (
    id, shard, job_type, priority, payload, payload_hash, key, "group", max_attempts, timeout_us, due_at, eligible_at,
    attempt, crashes, last_error, created_at, admitted_by, replay_of, headers
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- job_retry: notes an ended attempt and when the next one is due.
UPDATE holdfast_job SET attempt = ?, crashes = ?, due_at = ?, eligible_at = ?, last_error = ?
WHERE id = ? AND attempt = ?;

-- job_ended: finds a finished job.
SELECT 1 FROM holdfast_job_archive WHERE id = ?;

-- job_keys_held: finds a finished job with an idempotency key.
SELECT 1 FROM holdfast_job_archive WHERE job_type = ? AND ifnull("group", '') = ifnull(?, '') AND key = ? LIMIT 1;

-- job_archive: copies a live job into the archive with its end; only a dead one keeps its payload, for a replay.
INSERT INTO holdfast_job_archive (
    id, shard, job_type, priority, payload, payload_hash, key, "group", max_attempts, timeout_us, state, result, error,
    reason, attempts, created_at, finished_at, admitted_by, finished_by, replay_of, replayed_at, discarded_at
)
SELECT
    id, shard, job_type, priority, CASE ?3 WHEN 'dead' THEN payload ELSE x'' END, payload_hash, key, "group",
    max_attempts, timeout_us, ?3, ?4, ?5, ?6, ?7, created_at, ?8, admitted_by, ?9, replay_of, NULL, NULL
FROM holdfast_job WHERE id = ?1 AND attempt = ?2;

-- archive_insert: keeps a job that was never live with its end.
INSERT INTO holdfast_job_archive (
    id, shard, job_type, priority, payload, payload_hash, key, "group", max_attempts, timeout_us, state, result, error,
    reason, attempts, created_at, finished_at, admitted_by, finished_by, replay_of, replayed_at, discarded_at
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- job_delete: takes a live job away that has been archived.
DELETE FROM holdfast_job WHERE id = ?;

-- job_replay: marks a dead job replayed.
UPDATE holdfast_job_archive SET replayed_at = ?
WHERE id = ? AND state = 'dead' AND replayed_at IS NULL AND discarded_at IS NULL;

-- job_discard: marks a dead job discarded.
UPDATE holdfast_job_archive SET discarded_at = ?
WHERE id = ? AND state = 'dead' AND replayed_at IS NULL AND discarded_at IS NULL;

-- start_insert: records attempts that are about to start.
INSERT INTO holdfast_start (id, owner, executor, attempts, started_at) VALUES (?, ?, ?, ?, ?);

-- start_end: takes a start record away whose attempts have ended.
DELETE FROM holdfast_start WHERE id = ?;

-- ids_allocate: moves the counter of ids on and returns the first of the block.
UPDATE holdfast_counter SET next = next + ?1 WHERE name = 'id' RETURNING next - ?1;
