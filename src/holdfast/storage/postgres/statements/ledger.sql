-- ledger_live_jobs: counts live jobs by the state that their columns and the start records give them.
WITH running (id) AS MATERIALIZED (
    SELECT DISTINCT job.id
    FROM holdfast_start, jsonb_array_elements(convert_from(attempts, 'UTF8')::jsonb) AS pair
    JOIN holdfast_job AS job ON job.id = (pair ->> 0)::bigint AND job.attempt = (pair ->> 1)::bigint - 1
), job AS (
    SELECT job_type, priority, due_at, attempt, replay_of, running.id IS NOT NULL AS runs
    FROM holdfast_job LEFT JOIN running USING (id)
)
SELECT
    job_type, priority,
    count(*) FILTER (WHERE NOT runs AND due_at > now AND attempt = 0),
    count(*) FILTER (WHERE NOT runs AND due_at <= now),
    count(*) FILTER (WHERE runs),
    count(*) FILTER (WHERE NOT runs AND due_at > now AND attempt > 0),
    count(*) FILTER (WHERE replay_of IS NULL)
FROM job, (SELECT coalesce($1::bigint, holdfast_now())) AS moment (now)
GROUP BY job_type, priority;

-- ledger_archived_jobs: counts finished jobs by their end.
SELECT
    job_type, priority, count(*) FILTER (WHERE state = 'completed'), count(*) FILTER (WHERE state = 'cancelled'),
    count(*) FILTER (WHERE state = 'dead'), count(replayed_at), count(discarded_at),
    count(*) FILTER (WHERE replay_of IS NULL)
FROM holdfast_job_archive
GROUP BY job_type, priority;

-- ledger_messages: counts durable messages; a dead letter counts once, by its done row where it has one.
SELECT
    entity_type, sum(pending)::bigint, sum(done)::bigint, sum(dead)::bigint, sum(deliveries)::bigint,
    count(*) FILTER (WHERE deliveries > 0)
FROM (
    SELECT entity_type, 1 AS pending, 0 AS done, 0 AS dead, deliveries FROM holdfast_message
    UNION ALL
    SELECT entity_type, 0, (kind <> 2)::integer, (kind = 2)::integer, deliveries FROM holdfast_done
    UNION ALL
    SELECT entity_type, 0, 0, 1, deliveries FROM holdfast_dead_message AS letter
    WHERE NOT EXISTS (SELECT FROM holdfast_done WHERE holdfast_done.id = letter.id)
) AS message
GROUP BY entity_type;

-- ledger_counted_by: counts admitted jobs (replays are not) and messages by the incarnation that counted them.
SELECT admitted_by, count(*)
FROM (
    SELECT admitted_by FROM holdfast_job WHERE replay_of IS NULL
    UNION ALL
    SELECT admitted_by FROM holdfast_job_archive WHERE replay_of IS NULL
    UNION ALL
    SELECT admitted_by FROM holdfast_message
    UNION ALL
    SELECT admitted_by FROM holdfast_done
) AS admitted
GROUP BY admitted_by;

-- ledger_tallies: reads what was counted of rows that retention took away.
SELECT kind, name, priority, what, count FROM holdfast_tally;

-- ledger_sizes: counts entities with a state, and inbox rows.
SELECT (SELECT count(*) FROM holdfast_state), (SELECT count(*) FROM holdfast_inbox);
