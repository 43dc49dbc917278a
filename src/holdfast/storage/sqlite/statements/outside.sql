-- outside_visit: takes an id for a row from a user's own transaction, a long step away from others; reads the clock.
UPDATE holdfast_counter SET next = next + ? WHERE name = 'id'
RETURNING
    next - 1, CAST((julianday('now') - 2440587.5) * 86400000000.0 AS INTEGER),
    (SELECT value FROM holdfast_meta WHERE name = 'cluster_id');

-- outside_groups: reads which shards each group has.
SELECT name, first, shards FROM holdfast_shard_group;

-- outside_leave: leaves something in a user's own transaction; the runner sees that the file has changed.
INSERT INTO holdfast_inbox (id, shard, kind, body, created_at) VALUES (?, ?, ?, ?, ?);
