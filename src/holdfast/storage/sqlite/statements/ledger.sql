-- ledger_live_jobs: counts live jobs by the state that their columns and the start records give them.
WITH running (id) AS (
    SELECT DISTINCT job.id
    FROM holdfast_start, json_each(CAST(holdfast_start.attempts AS TEXT)) AS pair
    JOIN holdfast_job AS job ON job.id = pair.value ->> 0 AND job.attempt = (pair.value ->> 1) - 1
)
SELECT
    job_type, priority,
    sum(NOT runs AND due_at > :now AND attempt = 0),
    sum(NOT runs AND due_at <= :now),
    sum(runs),
    sum(NOT runs AND due_at > :now AND attempt > 0),
    sum(replay_of IS NULL)
FROM (SELECT job_type, priority, due_at, attempt, replay_of, id IN (SELECT id FROM running) AS runs FROM holdfast_job)
GROUP BY job_type, priority;

-- ledger_archived_jobs: counts finished jobs by their end.
SELECT
    job_type, priority, sum(state = 'completed'), sum(state = 'cancelled'), sum(state = 'dead'),
    count(replayed_at), count(discarded_at), sum(replay_of IS NULL)
FROM holdfast_job_archive
GROUP BY job_type, priority;

-- ledger_messages: counts durable messages; a dead letter counts once, by its done row where it has one.
SELECT entity_type, sum(pending), sum(done), sum(dead), sum(deliveries), sum(deliveries > 0)
FROM (
    SELECT entity_type, 1 AS pending, 0 AS done, 0 AS dead, deliveries FROM holdfast_message
    UNION ALL
    SELECT entity_type, 0, kind <> 2, kind = 2, deliveries FROM holdfast_done
    UNION ALL
    SELECT entity_type, 0, 0, 1, deliveries FROM holdfast_dead_message AS letter
    WHERE NOT EXISTS (SELECT 1 FROM holdfast_done WHERE holdfast_done.id = letter.id)
)
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
)
GROUP BY admitted_by;

-- ledger_tallies: reads what was counted of rows that retention took away.
SELECT kind, name, priority, what, count FROM holdfast_tally;

-- ledger_sizes: counts entities with a state, and inbox rows.
SELECT (SELECT count(*) FROM holdfast_state), (SELECT count(*) FROM holdfast_inbox);
