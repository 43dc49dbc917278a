-- cluster_id: reads the random id that the store got when it was made.
SELECT value FROM holdfast_meta WHERE name = 'cluster_id';

-- runner_id_take: moves the counter of incarnations on and returns the next.
UPDATE holdfast_counter SET next = next + 1 WHERE name = 'runner' RETURNING next - 1;

-- runners_reap: ends all incarnations before the given one, and says which had not left in order.
DELETE FROM holdfast_runner WHERE runner_id < ? RETURNING runner_id;

-- messages_crashed: counts a crash for what may have been running: each entity's first message; of suspects who started.
WITH head (id, crashes) AS (
    SELECT id, crashes FROM holdfast_message WHERE id IN (
        SELECT min(id) FROM holdfast_message WHERE due_at <= :now GROUP BY entity_type, entity_id
    )
)
UPDATE holdfast_message SET crashes = crashes + 1
WHERE id IN (SELECT id FROM head WHERE crashes = 0) OR crashes > 0 AND (id, crashes) IN (
    SELECT json_extract(pair.value, '$[0]'), json_extract(pair.value, '$[1]')
    FROM holdfast_start, json_each(CAST(holdfast_start.attempts AS TEXT)) AS pair
);

-- jobs_crashed: counts a crash for the jobs that are at an attempt which stands in a start record.
UPDATE holdfast_job SET crashes = crashes + 1, last_error = :error
WHERE (id, attempt + 1) IN (
    SELECT json_extract(pair.value, '$[0]'), json_extract(pair.value, '$[1]')
    FROM holdfast_start, json_each(CAST(holdfast_start.attempts AS TEXT)) AS pair
);

-- starts_clear: takes all start records away: whoever registers here is the only executor there is.
DELETE FROM holdfast_start;

-- starts_leave: takes the start records of an executor away that leaves in order.
DELETE FROM holdfast_start WHERE executor = ?;

-- runner_insert: makes an incarnation.
INSERT INTO holdfast_runner (
    runner_id, address, version, types, groups, weight, state, wanted, started_at, expires_at
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- runner_renew: extends a lease.
UPDATE holdfast_runner SET expires_at = ?, state = ? WHERE runner_id = ? RETURNING 1;

-- runner_want: notes what an operator asks of a runner.
UPDATE holdfast_runner SET wanted = ?2 WHERE runner_id = ?1 RETURNING 1;

-- runner_leave: ends an incarnation.
DELETE FROM holdfast_runner WHERE runner_id = ?;

-- shards_leave: ends the ownership of an incarnation.
UPDATE holdfast_shard SET runner_id = 0 WHERE runner_id = ?;

-- runners: reads all registered runners.
SELECT runner_id, address, version, types, groups, weight, state, wanted, started_at, expires_at FROM holdfast_runner
ORDER BY runner_id;

-- runner_address: reads where the newest runner listens.
SELECT address FROM holdfast_runner WHERE address <> '' ORDER BY runner_id DESC LIMIT 1;

-- shard_count: reads how many shards a group has.
SELECT shards FROM holdfast_shard_group WHERE name = ?;

-- groups: reads all shard groups.
SELECT name, first, shards, types FROM holdfast_shard_group ORDER BY first;

-- shard_group_put: makes a group, or replaces the types of one.
INSERT INTO holdfast_shard_group (name, first, shards, types) VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET types = excluded.types;

-- shards_insert: makes the shards of a group that are missing, owned by nobody.
WITH RECURSIVE missing (number, "group", last) AS (
    SELECT first, name, first + shards - 1 FROM holdfast_shard_group WHERE name = ?
    UNION ALL
    SELECT number + 1, "group", last FROM missing WHERE number < last
)
INSERT INTO holdfast_shard (number, "group", runner_id, epoch) SELECT number, "group", 0, 0 FROM missing WHERE true
ON CONFLICT DO NOTHING;

-- shards_claim: takes those of these shards that nobody alive owns, under a new epoch.
UPDATE holdfast_shard SET runner_id = :runner_id, epoch = epoch + 1
WHERE number IN (SELECT value FROM json_each(:shards)) AND runner_id NOT IN (SELECT runner_id FROM holdfast_runner)
RETURNING "group", number, runner_id, epoch;

-- shards_hand_over: gives those of these shards that a runner owns to another whose lease is valid, under a new epoch.
UPDATE holdfast_shard SET runner_id = :receiver, epoch = epoch + 1
WHERE number IN (SELECT value FROM json_each(:shards)) AND runner_id = :runner_id
    AND EXISTS (SELECT 1 FROM holdfast_runner WHERE runner_id = :receiver AND expires_at > :now)
RETURNING "group", number, runner_id, epoch;

-- shards: reads all shards.
SELECT "group", number, runner_id, epoch FROM holdfast_shard ORDER BY number;
