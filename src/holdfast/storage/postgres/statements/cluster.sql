-- cluster_id: reads the random id that the store got when it was made.
SELECT value FROM holdfast_meta WHERE name = 'cluster_id';

-- server: reads whether a commit that was acknowledged is on the disk, which version this is, and where tables go.
SELECT
    current_setting('synchronous_commit'), current_setting('fsync'), current_setting('server_version_num')::integer,
    current_schema();

-- runner_insert: makes an incarnation.
INSERT INTO holdfast_runner (address, version, types, groups, weight, state, wanted, started_at, expires_at)
SELECT $1, $2, $3, $4, $5, $6, $6, coalesce($8::bigint, now), coalesce($8::bigint, now) + $7::bigint
FROM holdfast_now() AS now
RETURNING runner_id;

-- runner_renew: extends a lease on the database's clock, and reads that clock and all runners, the renewed one as it is.
WITH clock AS MATERIALIZED (SELECT coalesce($4::bigint, holdfast_now()) AS now),
mine AS (
    UPDATE holdfast_runner SET expires_at = now + $2::bigint, state = $3 FROM clock WHERE runner_id = $1
    RETURNING
        runner_id, address, version, types, groups, weight, state, wanted, started_at, expires_at
)
SELECT now, runner.* FROM clock, (
    SELECT * FROM mine
    UNION ALL
    SELECT runner_id, address, version, types, groups, weight, state, wanted, started_at, expires_at
    FROM holdfast_runner WHERE runner_id <> $1 AND EXISTS (SELECT FROM mine)
) AS runner
ORDER BY runner_id;

-- now: reads the clock that leases run on.
SELECT coalesce($1::bigint, holdfast_now());

-- runner_want: notes what an operator asks of a runner.
UPDATE holdfast_runner SET wanted = $2 WHERE runner_id = $1 RETURNING 1;

-- runner_leave: ends an incarnation; its fences and its ownership go with its row.
DELETE FROM holdfast_runner WHERE runner_id = $1 RETURNING runner_id;

-- runner_reap: ends one incarnation whose lease has run out, unless another reaper is at it; tells what it owned.
WITH dead AS MATERIALIZED (
    SELECT runner_id FROM holdfast_runner WHERE expires_at < least(coalesce($1::bigint, holdfast_now()), $2::bigint)
    ORDER BY expires_at LIMIT 1 FOR UPDATE SKIP LOCKED
)
DELETE FROM holdfast_runner USING dead WHERE holdfast_runner.runner_id = dead.runner_id
RETURNING
    holdfast_runner.runner_id,
    ARRAY (SELECT number FROM holdfast_shard WHERE holdfast_shard.runner_id = holdfast_runner.runner_id);

-- messages_crashed: counts a crash for what may have been running: each entity's first message; of suspects who started.
WITH due AS (
    SELECT id, entity_id, entity_type, crashes FROM holdfast_message
    WHERE shard = ANY ($1::integer[]) AND due_at = 0
    UNION ALL
    SELECT id, entity_id, entity_type, crashes FROM holdfast_message
    WHERE shard = ANY ($1::integer[]) AND due_at > 0 AND due_at <= coalesce($2::bigint, holdfast_now())
),
head AS MATERIALIZED (
    SELECT DISTINCT ON (entity_id, entity_type) id, crashes FROM due ORDER BY entity_id, entity_type, id
),
started AS MATERIALIZED (
    SELECT (pair ->> 0)::bigint AS id, (pair ->> 1)::integer AS crashes
    FROM holdfast_start, jsonb_array_elements(convert_from(attempts, 'UTF8')::jsonb) AS pair WHERE executor = $3
)
UPDATE holdfast_message SET crashes = holdfast_message.crashes + 1 FROM (
    SELECT id FROM head WHERE crashes = 0
    UNION SELECT due.id FROM due JOIN started ON started.id = due.id AND started.crashes = due.crashes
) AS suspect
WHERE holdfast_message.id = suspect.id;

-- jobs_crashed: ends the start records of an executor with a crash for each job that is still at its attempt.
WITH record AS (DELETE FROM holdfast_start WHERE executor = $1 RETURNING attempts),
attempt AS MATERIALIZED (
    SELECT DISTINCT (pair ->> 0)::bigint AS job, (pair ->> 1)::integer AS number
    FROM record, jsonb_array_elements(convert_from(record.attempts, 'UTF8')::jsonb) AS pair
),
suspect AS MATERIALIZED (
    SELECT id FROM holdfast_job JOIN attempt ON id = attempt.job AND holdfast_job.attempt = attempt.number - 1
    ORDER BY id FOR UPDATE OF holdfast_job
)
UPDATE holdfast_job SET crashes = crashes + 1, last_error = $2 FROM suspect WHERE holdfast_job.id = suspect.id;

-- starts_leave: takes the start records of an executor away that leaves in order.
DELETE FROM holdfast_start WHERE executor = $1;

-- slot_open: makes the fence row of a new session.
INSERT INTO holdfast_fence (runner_id) VALUES ($1) RETURNING slot;

-- slot_end: takes a session's fence row away, after the write under way, and notes which batch was its last.
WITH ended AS (DELETE FROM holdfast_fence WHERE runner_id = $1 AND slot = $2 RETURNING runner_id, slot, flushes)
INSERT INTO holdfast_fence_end (runner_id, slot, flushes) SELECT runner_id, slot, flushes FROM ended;

-- slot_outcome: reads which batch was the last of a session that was ended.
SELECT flushes FROM holdfast_fence_end WHERE runner_id = $1 AND slot = $2;

-- session_pid: tells which session this is.
SELECT pg_backend_pid();

-- session_evict: ends the sessions that keep this one waiting.
SELECT pg_terminate_backend(blocker) FROM unnest(pg_blocking_pids($1)) AS blocker WHERE blocker > 0;

-- runners: reads all registered runners.
SELECT runner_id, address, version, types, groups, weight, state, wanted, started_at, expires_at FROM holdfast_runner
ORDER BY runner_id;

-- runner_address: reads where the newest runner listens.
SELECT address FROM holdfast_runner WHERE address <> '' ORDER BY runner_id DESC LIMIT 1;

-- runner_hold: proves that an incarnation has not been reaped, and keeps it from being until the transaction ends.
SELECT 1 FROM holdfast_runner WHERE runner_id = $1 FOR KEY SHARE;

-- shard_count: reads how many shards a group has.
SELECT shards FROM holdfast_shard_group WHERE name = $1;

-- groups: reads all shard groups.
SELECT name, first, shards, types FROM holdfast_shard_group ORDER BY first;

-- groups_lock: makes whoever wants to make a group wait for the end of this transaction.
LOCK TABLE holdfast_shard_group IN SHARE ROW EXCLUSIVE MODE;

-- shard_group_put: makes a group, or replaces the types of one.
INSERT INTO holdfast_shard_group (name, first, shards, types) VALUES ($1, $2, $3, $4)
ON CONFLICT (name) DO UPDATE SET types = excluded.types;

-- shards_insert: makes the shards of a group that are missing, owned by nobody.
INSERT INTO holdfast_shard (number, "group")
SELECT number, name FROM holdfast_shard_group, generate_series(first, first + shards - 1) AS number WHERE name = $1
ON CONFLICT DO NOTHING;

-- shards_claim: takes those of these shards that nobody owns, under a new epoch; in one order, for others claim too.
WITH free AS MATERIALIZED (
    SELECT number FROM holdfast_shard WHERE number = ANY ($2::integer[]) AND runner_id IS NULL
    ORDER BY number FOR UPDATE
)
UPDATE holdfast_shard AS shard SET runner_id = $1, epoch = epoch + 1
FROM free WHERE shard.number = free.number
RETURNING shard."group", shard.number, shard.runner_id, shard.epoch;

-- shards_hand_over: gives those of these shards that a runner owns to another whose lease is valid, under a new epoch.
WITH receiver AS MATERIALIZED (
    SELECT runner_id FROM holdfast_runner
    WHERE runner_id = $3 AND expires_at > coalesce($4::bigint, holdfast_now())
    FOR KEY SHARE
),
mine AS MATERIALIZED (
    SELECT number FROM holdfast_shard
    WHERE number = ANY ($2::integer[]) AND runner_id = $1 AND EXISTS (SELECT FROM receiver)
    ORDER BY number FOR UPDATE
)
UPDATE holdfast_shard AS shard SET runner_id = receiver.runner_id, epoch = epoch + 1
FROM mine, receiver WHERE shard.number = mine.number
RETURNING shard."group", shard.number, shard.runner_id, shard.epoch;

-- shards: reads all shards.
SELECT "group", number, coalesce(runner_id, 0), epoch FROM holdfast_shard ORDER BY number;

-- ids_allocate: takes the next block of ids, for good, and returns its first.
UPDATE holdfast_counter SET next = nextval('holdfast_id') WHERE name = 'id' RETURNING next;

-- inbox_leave: leaves something for the owners of shards, from a session without a fence, and wakes those who listen.
WITH stored AS (
    INSERT INTO holdfast_inbox (id, shard, kind, body, created_at)
    SELECT id, shard, kind, body, coalesce($5::bigint, holdfast_now())
    FROM unnest($1::bigint[], $2::integer[], $3::smallint[], $4::bytea[]) AS entry (id, shard, kind, body)
)
SELECT pg_notify('holdfast_inbox', current_schema());
