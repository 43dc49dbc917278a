-- jobs_available: reads a window of jobs that may start, by id: those due at once and those whose time has come.
SELECT
    id, shard, job_type, priority, payload, payload_hash, key, "group", max_attempts, timeout_us, due_at, eligible_at,
    attempt, crashes, last_error, created_at, admitted_by, replay_of, headers
FROM holdfast_job
WHERE id IN (
    SELECT id FROM (
        SELECT id FROM holdfast_job
        WHERE shard = :shard AND priority = :priority AND due_at = 0 AND id > :after
        ORDER BY id LIMIT :limit
    )
    UNION ALL
    SELECT id FROM (
        SELECT id FROM holdfast_job
        WHERE shard = :shard AND priority = :priority AND due_at > 0 AND due_at <= :due_before AND id > :after
        ORDER BY id LIMIT :limit
    )
)
ORDER BY id LIMIT :limit;

-- jobs_filled: finds which windows have a job that may start.
WITH wanted (shard, priority, after) AS MATERIALIZED (
    SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(:windows)
)
SELECT shard, priority FROM wanted
WHERE EXISTS (
    SELECT 1 FROM holdfast_job AS job
    WHERE job.shard = wanted.shard AND job.priority = wanted.priority AND due_at = 0 AND id > after
) OR EXISTS (
    SELECT 1 FROM holdfast_job AS job
    WHERE job.shard = wanted.shard AND job.priority = wanted.priority
        AND due_at > 0 AND due_at <= :due_before AND id > after
);

-- jobs_upcoming: reads jobs that are not due yet, soonest first.
SELECT
    id, shard, job_type, priority, payload, payload_hash, key, "group", max_attempts, timeout_us, due_at, eligible_at,
    attempt, crashes, last_error, created_at, admitted_by, replay_of, headers
FROM holdfast_job
WHERE due_at > 0 AND due_at >= :due_after AND (due_at > :due_after OR id > :id_after)
    AND (:shards IS NULL OR shard IN (SELECT value FROM json_each(:shards)))
ORDER BY due_at, id LIMIT :limit;

-- job_by_id: reads a live job.
SELECT
    id, shard, job_type, priority, payload, payload_hash, key, "group", max_attempts, timeout_us, due_at, eligible_at,
    attempt, crashes, last_error, created_at, admitted_by, replay_of, headers
FROM holdfast_job WHERE id = ?;

-- jobs_by_id: reads live jobs.
SELECT
    id, shard, job_type, priority, payload, payload_hash, key, "group", max_attempts, timeout_us, due_at, eligible_at,
    attempt, crashes, last_error, created_at, admitted_by, replay_of, headers
FROM holdfast_job WHERE id IN (SELECT value FROM json_each(:jobs)) ORDER BY id;

-- job_by_key: reads the live job that holds an idempotency key.
SELECT
    id, shard, job_type, priority, payload, payload_hash, key, "group", max_attempts, timeout_us, due_at, eligible_at,
    attempt, crashes, last_error, created_at, admitted_by, replay_of, headers
FROM holdfast_job WHERE job_type = ? AND ifnull("group", '') = ifnull(?, '') AND key = ?;

-- archived_by_id: reads a finished job.
SELECT
    id, shard, job_type, priority, payload, payload_hash, key, "group", max_attempts, timeout_us, state, result, error,
    reason, attempts, created_at, finished_at, admitted_by, finished_by, replay_of, replayed_at, discarded_at
FROM holdfast_job_archive WHERE id = ?;

-- archived_by_key: reads the newest finished job that holds an idempotency key.
SELECT
    id, shard, job_type, priority, payload, payload_hash, key, "group", max_attempts, timeout_us, state, result, error,
    reason, attempts, created_at, finished_at, admitted_by, finished_by, replay_of, replayed_at, discarded_at
FROM holdfast_job_archive
WHERE job_type = ? AND ifnull("group", '') = ifnull(?, '') AND key = ?
ORDER BY id DESC LIMIT 1;

-- jobs_dead: reads dead jobs that nobody has dealt with, by id.
SELECT
    id, shard, job_type, priority, payload, payload_hash, key, "group", max_attempts, timeout_us, state, result, error,
    reason, attempts, created_at, finished_at, admitted_by, finished_by, replay_of, replayed_at, discarded_at
FROM holdfast_job_archive
WHERE state = 'dead' AND replayed_at IS NULL AND discarded_at IS NULL
    AND id > :after AND (:job_type IS NULL OR job_type = :job_type)
ORDER BY id LIMIT :limit;

-- jobs_live_page: reads live jobs, by id.
SELECT
    id, shard, job_type, priority, payload, payload_hash, key, "group", max_attempts, timeout_us, due_at, eligible_at,
    attempt, crashes, last_error, created_at, admitted_by, replay_of, headers
FROM holdfast_job WHERE id > :after AND (:job_type IS NULL OR job_type = :job_type) ORDER BY id LIMIT :limit;

-- jobs_archived_page: reads jobs that ended in one state, by id.
SELECT
    id, shard, job_type, priority, payload, payload_hash, key, "group", max_attempts, timeout_us, state, result, error,
    reason, attempts, created_at, finished_at, admitted_by, finished_by, replay_of, replayed_at, discarded_at
FROM holdfast_job_archive
WHERE id > :after AND state = :state AND (:job_type IS NULL OR job_type = :job_type) ORDER BY id LIMIT :limit;

-- starts: reads start records, by id; of shards, those that speak of a live job of theirs.
SELECT id, owner, executor, attempts, started_at FROM holdfast_start
WHERE :shards IS NULL OR EXISTS (
    SELECT 1 FROM json_each(CAST(attempts AS TEXT)) AS attempt
    JOIN holdfast_job ON holdfast_job.id = json_extract(attempt.value, '$[0]')
    WHERE shard IN (SELECT value FROM json_each(:shards))
)
ORDER BY id;

-- starts_lent: reads the start records that other runners wrote for an executor.
SELECT id, owner, executor, attempts, started_at FROM holdfast_start WHERE executor = ? AND owner <> executor
ORDER BY id;

-- jobs_live_counts: counts live jobs, those whose time has come apart from the others.
SELECT shard, job_type, priority, sum(due_at <= :due_before), sum(due_at > :due_before) FROM holdfast_job
WHERE (:shards IS NULL OR shard IN (SELECT value FROM json_each(:shards)))
GROUP BY shard, job_type, priority;

-- group_places: reads the live jobs of groups that have been started before.
SELECT id, shard, job_type, "group" FROM holdfast_job
WHERE "group" IS NOT NULL AND (attempt > 0 OR crashes > 0)
    AND (:shards IS NULL OR shard IN (SELECT value FROM json_each(:shards)));

-- jobs_dead_counts: counts dead jobs that nobody has dealt with, with the time when the oldest died.
SELECT job_type, count(*), min(finished_at) FROM holdfast_job_archive
WHERE state = 'dead' AND replayed_at IS NULL AND discarded_at IS NULL
    AND (:shards IS NULL OR shard IN (SELECT value FROM json_each(:shards)))
GROUP BY job_type;
