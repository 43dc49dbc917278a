-- jobs_available: reads a window of jobs that may start, by id: those due at once and those whose time has come.
SELECT
    id, shard, job_type, priority, payload, payload_hash, key, "group", max_attempts, timeout_us, due_at, eligible_at,
    attempt, crashes, last_error, created_at, admitted_by, replay_of, headers
FROM holdfast_job
WHERE id = ANY (ARRAY (
    SELECT id FROM (
        SELECT id FROM holdfast_job
        WHERE due_at = 0 AND (shard, priority, id) > ($1, $2, $3)
            AND (shard, priority, id) < ($1, $2, 9223372036854775807)
        ORDER BY shard, priority, id LIMIT $4
    ) AS at_once
    UNION ALL
    SELECT id FROM (
        SELECT id FROM holdfast_job
        WHERE shard = $1 AND priority = $2 AND due_at > 0 AND due_at <= $5 AND id + 0 > $3
        ORDER BY id + 0 LIMIT $4
    ) AS delayed
))
ORDER BY id LIMIT $4;

-- jobs_filled: finds which windows have a job that may start; so worded that the primary key can't serve for it.
SELECT shard, priority FROM unnest($1::integer[], $2::smallint[], $3::bigint[]) AS wanted (shard, priority, after)
WHERE EXISTS (
    SELECT FROM (
        SELECT job.shard, job.priority FROM holdfast_job AS job
        WHERE due_at = 0 AND (job.shard, job.priority, job.id) > (wanted.shard, wanted.priority, wanted.after)
        ORDER BY job.shard, job.priority, job.id LIMIT 1
    ) AS next
    WHERE next.shard = wanted.shard AND next.priority = wanted.priority
) OR EXISTS (
    SELECT FROM holdfast_job AS job
    WHERE job.shard = wanted.shard AND due_at > 0 AND due_at <= $4
        AND job.priority = wanted.priority AND id + 0 > wanted.after
);

-- jobs_upcoming: reads jobs that are not due yet, soonest first: of all shards, or of these alone.
SELECT
    id, shard, job_type, priority, payload, payload_hash, key, "group", max_attempts, timeout_us, due_at, eligible_at,
    attempt, crashes, last_error, created_at, admitted_by, replay_of, headers
FROM holdfast_job
WHERE id = ANY (ARRAY (
    SELECT id FROM (
        SELECT id FROM holdfast_job
        WHERE $4::integer[] IS NULL AND due_at > 0 AND due_at >= $1 AND (due_at, id) > ($1, $2::bigint)
        ORDER BY due_at, id LIMIT $3
    ) AS everywhere
    UNION ALL
    SELECT id FROM unnest($4::integer[]) AS place (number), LATERAL (
        SELECT id FROM holdfast_job
        WHERE shard = number AND due_at > 0 AND due_at >= $1 AND (due_at, id) > ($1, $2::bigint)
        ORDER BY due_at, id LIMIT $3
    ) AS here
))
ORDER BY due_at, id LIMIT $3;

-- job_by_id: reads a live job.
SELECT
    id, shard, job_type, priority, payload, payload_hash, key, "group", max_attempts, timeout_us, due_at, eligible_at,
    attempt, crashes, last_error, created_at, admitted_by, replay_of, headers
FROM holdfast_job WHERE id = $1;

-- jobs_by_id: reads live jobs.
SELECT
    id, shard, job_type, priority, payload, payload_hash, key, "group", max_attempts, timeout_us, due_at, eligible_at,
    attempt, crashes, last_error, created_at, admitted_by, replay_of, headers
FROM holdfast_job WHERE id = ANY ($1::bigint[]) ORDER BY id;

-- job_by_key: reads the live job that holds an idempotency key.
SELECT
    id, shard, job_type, priority, payload, payload_hash, key, "group", max_attempts, timeout_us, due_at, eligible_at,
    attempt, crashes, last_error, created_at, admitted_by, replay_of, headers
FROM holdfast_job WHERE job_type = $1 AND coalesce("group", '') = coalesce($2::text, '') AND key = $3;

-- archived_by_id: reads a finished job.
SELECT
    id, shard, job_type, priority, payload, payload_hash, key, "group", max_attempts, timeout_us, state, result, error,
    reason, attempts, created_at, finished_at, admitted_by, finished_by, replay_of, replayed_at, discarded_at
FROM holdfast_job_archive WHERE id = $1;

-- archived_by_key: reads the newest finished job that holds an idempotency key.
SELECT
    id, shard, job_type, priority, payload, payload_hash, key, "group", max_attempts, timeout_us, state, result, error,
    reason, attempts, created_at, finished_at, admitted_by, finished_by, replay_of, replayed_at, discarded_at
FROM holdfast_job_archive
WHERE job_type = $1 AND coalesce("group", '') = coalesce($2::text, '') AND key = $3
ORDER BY id DESC LIMIT 1;

-- jobs_dead: reads dead jobs that nobody has dealt with, by id.
SELECT
    id, shard, job_type, priority, payload, payload_hash, key, "group", max_attempts, timeout_us, state, result, error,
    reason, attempts, created_at, finished_at, admitted_by, finished_by, replay_of, replayed_at, discarded_at
FROM holdfast_job_archive
WHERE state = 'dead' AND replayed_at IS NULL AND discarded_at IS NULL
    AND id > $1 AND ($2::text IS NULL OR job_type = $2)
ORDER BY id LIMIT $3;

-- jobs_live_page: reads live jobs, by id.
SELECT
    id, shard, job_type, priority, payload, payload_hash, key, "group", max_attempts, timeout_us, due_at, eligible_at,
    attempt, crashes, last_error, created_at, admitted_by, replay_of, headers
FROM holdfast_job WHERE id > $1 AND ($2::text IS NULL OR job_type = $2) ORDER BY id LIMIT $3;

-- jobs_archived_page: reads jobs that ended in one state, by id.
SELECT
    id, shard, job_type, priority, payload, payload_hash, key, "group", max_attempts, timeout_us, state, result, error,
    reason, attempts, created_at, finished_at, admitted_by, finished_by, replay_of, replayed_at, discarded_at
FROM holdfast_job_archive
WHERE id > $1 AND state = $2 AND ($3::text IS NULL OR job_type = $3) ORDER BY id LIMIT $4;

-- starts: reads start records, by id; of shards, those that speak of a live job of theirs.
SELECT id, owner, executor, attempts, started_at FROM holdfast_start AS record
WHERE $1::integer[] IS NULL OR EXISTS (
    SELECT FROM jsonb_array_elements(convert_from(record.attempts, 'UTF8')::jsonb) AS pair
    JOIN holdfast_job AS job ON job.id = (pair ->> 0)::bigint
    WHERE job.shard = ANY ($1)
)
ORDER BY id;

-- starts_lent: reads the start records that other runners wrote for an executor.
SELECT id, owner, executor, attempts, started_at FROM holdfast_start WHERE executor = $1 AND owner <> executor
ORDER BY id;

-- jobs_live_counts: counts live jobs, those whose time has come apart from the others.
SELECT shard, job_type, priority, count(*) FILTER (WHERE due), count(*) FILTER (WHERE NOT due)
FROM (
    SELECT shard, job_type, priority, due_at <= $1 AS due FROM holdfast_job WHERE $2::integer[] IS NULL
    UNION ALL
    SELECT shard, job_type, priority, true FROM holdfast_job WHERE shard = ANY ($2) AND due_at = 0
    UNION ALL
    SELECT shard, job_type, priority, due_at <= $1 FROM holdfast_job WHERE shard = ANY ($2) AND due_at > 0
) AS job
GROUP BY shard, job_type, priority;

-- group_places: reads the live jobs of groups that have been started before.
SELECT id, shard, job_type, "group" FROM holdfast_job
WHERE "group" IS NOT NULL AND (attempt > 0 OR crashes > 0) AND ($1::integer[] IS NULL OR shard = ANY ($1));

-- jobs_dead_counts: counts dead jobs that nobody has dealt with, with the time when the oldest died.
SELECT job_type, count(*), min(finished_at) FROM holdfast_job_archive
WHERE state = 'dead' AND replayed_at IS NULL AND discarded_at IS NULL
    AND ($1::integer[] IS NULL OR shard = ANY ($1))
GROUP BY job_type;
