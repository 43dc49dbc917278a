-- outside_visit: takes an id for a row from a user's own transaction, where nobody waits for its end; reads the clock.
SELECT nextval('holdfast_id') + CAST($1 AS bigint), holdfast_now(), value
FROM holdfast_meta WHERE name = 'cluster_id';

-- outside_groups: reads which shards each group has.
SELECT name, first, shards FROM holdfast_shard_group;

-- outside_leave: leaves something in a user's own transaction, and wakes the owners when it commits.
WITH stored AS (
    INSERT INTO holdfast_inbox (id, shard, kind, body, created_at)
    VALUES (CAST($1 AS bigint), CAST($2 AS integer), CAST($3 AS smallint), CAST($4 AS bytea), CAST($5 AS bigint))
)
SELECT pg_notify('holdfast_inbox', nspname)
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE pg_class.oid = CAST('holdfast_inbox' AS regclass);
