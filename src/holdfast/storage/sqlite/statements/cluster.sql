-- cluster_id: reads the random id that the store got when it was made.
SELECT value FROM holdfast_meta WHERE name = 'cluster_id';

-- runner_id_take: moves the counter of incarnations on and returns the next.
UPDATE holdfast_counter SET next = next + 1 WHERE name = 'runner' RETURNING next - 1;

-- runners_reap: ends all incarnations before the given one, and says which had not left in order.
DELETE FROM holdfast_runner WHERE runner_id < ? RETURNING runner_id;

-- messages_crashed: counts a crash for what may have been running: each entity's first message, of suspects the first.
WITH head (id, crashes) AS (
    SELECT id, crashes FROM holdfast_message WHERE id IN (
        SELECT min(id) FROM holdfast_message WHERE due_at <= :now GROUP BY entity_type, entity_id
    )
)
UPDATE holdfast_message SET crashes = crashes + 1
WHERE id IN (SELECT id FROM head WHERE crashes = 0) OR id = (SELECT min(id) FROM head WHERE crashes > 0);

-- runner_insert: makes an incarnation.
INSERT INTO holdfast_runner (runner_id, address, version, types, state, started_at, expires_at)
VALUES (?, ?, ?, ?, ?, ?, ?);

-- runner_renew: extends a lease.
UPDATE holdfast_runner SET expires_at = ?, state = ? WHERE runner_id = ?;

-- runner_leave: ends an incarnation.
DELETE FROM holdfast_runner WHERE runner_id = ?;

-- shards_leave: ends the ownership of an incarnation.
UPDATE holdfast_shard SET runner_id = 0 WHERE runner_id = ?;

-- runners: reads all registered runners.
SELECT runner_id, address, version, types, state, started_at, expires_at FROM holdfast_runner ORDER BY runner_id;

-- runner_address: reads where the newest runner listens.
SELECT address FROM holdfast_runner WHERE address <> '' ORDER BY runner_id DESC LIMIT 1;

-- shard_count: reads how many shards a group has.
SELECT shards FROM holdfast_shard_group WHERE name = ?;

-- shard_group_insert: fixes how many shards a group has, unless that is fixed already.
INSERT INTO holdfast_shard_group (name, shards) VALUES (?, ?) ON CONFLICT DO NOTHING;

-- shards_insert: makes the shards of a group that are missing, owned by nobody.
INSERT INTO holdfast_shard ("group", number, runner_id, epoch)
WITH RECURSIVE numbers (number) AS (
    SELECT 0 UNION ALL SELECT number + 1 FROM numbers WHERE number + 1 < :shards
)
SELECT :group, number, 0, 0 FROM numbers WHERE true
ON CONFLICT DO NOTHING;

-- shards_claim: takes the shards of a group that nobody alive owns, under a new epoch.
UPDATE holdfast_shard SET runner_id = :runner_id, epoch = epoch + 1
WHERE "group" = :group AND runner_id NOT IN (SELECT runner_id FROM holdfast_runner);

-- shards_of: reads the shards of a group that a runner owns.
SELECT "group", number, runner_id, epoch FROM holdfast_shard
WHERE "group" = ? AND runner_id = ? ORDER BY number;

-- shards: reads all shards.
SELECT "group", number, runner_id, epoch FROM holdfast_shard ORDER BY "group", number;
