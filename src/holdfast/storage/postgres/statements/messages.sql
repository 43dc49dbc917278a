-- state: reads an entity's state.
SELECT version, schema, state FROM holdfast_state WHERE entity_type = $1 AND entity_id = $2;

-- states_of: reads the states of a type's entities, by id.
SELECT entity_id, version, schema, state FROM holdfast_state
WHERE entity_type = $1 AND entity_id > $2 ORDER BY entity_id LIMIT $3;

-- messages_pending: reads stored messages that are due, by id: everywhere, or in these shards alone.
SELECT
    id, shard, entity_type, entity_id, method, payload, payload_hash, key, headers, due_at, name, every_us, generation,
    deliveries, crashes, last_error, created_at, admitted_by
FROM holdfast_message
WHERE id = ANY (ARRAY (
    SELECT id FROM (
        SELECT id FROM holdfast_message WHERE $4::integer[] IS NULL AND id > $1 AND due_at <= $2 ORDER BY id LIMIT $3
    ) AS everywhere
    UNION ALL
    SELECT id FROM unnest($4::integer[]) AS place (number), LATERAL (
        SELECT id FROM holdfast_message
        WHERE due_at = 0 AND (shard, id) > (number, $1) AND (shard, id) < (number, 9223372036854775807)
        ORDER BY shard, id LIMIT $3
    ) AS at_once
    UNION ALL
    SELECT id FROM unnest($4::integer[]) AS place (number), LATERAL (
        SELECT id FROM holdfast_message WHERE shard = number AND due_at > 0 AND due_at <= $2 AND id + 0 > $1
        ORDER BY id + 0 LIMIT $3
    ) AS delayed
))
ORDER BY id LIMIT $3;

-- messages_pending_of: reads one entity's stored messages that are due, by id.
SELECT
    id, shard, entity_type, entity_id, method, payload, payload_hash, key, headers, due_at, name, every_us, generation,
    deliveries, crashes, last_error, created_at, admitted_by
FROM holdfast_message
WHERE entity_type = $1 AND entity_id = $2 AND id > $3 AND due_at <= $4
ORDER BY id LIMIT $5;

-- messages_upcoming: reads stored messages that are not due yet, soonest first: everywhere, or in these shards alone.
SELECT
    id, shard, entity_type, entity_id, method, payload, payload_hash, key, headers, due_at, name, every_us, generation,
    deliveries, crashes, last_error, created_at, admitted_by
FROM holdfast_message
WHERE id = ANY (ARRAY (
    SELECT id FROM (
        SELECT id FROM holdfast_message WHERE $3::integer[] IS NULL AND due_at > 0 AND due_at > $1
        ORDER BY due_at, id LIMIT $2
    ) AS everywhere
    UNION ALL
    SELECT id FROM unnest($3::integer[]) AS place (number), LATERAL (
        SELECT id FROM holdfast_message WHERE shard = number AND due_at > 0 AND due_at > $1
        ORDER BY due_at, id LIMIT $2
    ) AS here
))
ORDER BY due_at, id LIMIT $2;

-- message_timer: reads the pending timer of a name.
SELECT
    id, shard, entity_type, entity_id, method, payload, payload_hash, key, headers, due_at, name, every_us, generation,
    deliveries, crashes, last_error, created_at, admitted_by
FROM holdfast_message WHERE entity_type = $1 AND entity_id = $2 AND name = $3;

-- message_by_id: reads a stored message.
SELECT
    id, shard, entity_type, entity_id, method, payload, payload_hash, key, headers, due_at, name, every_us, generation,
    deliveries, crashes, last_error, created_at, admitted_by
FROM holdfast_message WHERE id = $1;

-- message_by_key: reads the stored message that holds an idempotency key.
SELECT
    id, shard, entity_type, entity_id, method, payload, payload_hash, key, headers, due_at, name, every_us, generation,
    deliveries, crashes, last_error, created_at, admitted_by
FROM holdfast_message WHERE entity_type = $1 AND entity_id = $2 AND method = $3 AND key = $4;

-- done_by_id: reads the outcome of a durable message.
SELECT
    id, shard, entity_type, entity_id, method, key, payload_hash, kind, outcome, deliveries, created_at, finished_at,
    admitted_by, finished_by
FROM holdfast_done WHERE id = $1;

-- done_by_key: reads the newest outcome under an idempotency key; a refused duplicate (kind 3) has none of its own.
SELECT
    id, shard, entity_type, entity_id, method, key, payload_hash, kind, outcome, deliveries, created_at, finished_at,
    admitted_by, finished_by
FROM holdfast_done
WHERE entity_type = $1 AND entity_id = $2 AND method = $3 AND key = $4 AND kind <> 3
ORDER BY id DESC LIMIT 1;

-- messages_dead: reads dead letters, by id.
SELECT
    id, shard, entity_type, entity_id, method, payload, payload_hash, key, headers, deliveries, crashes, last_error,
    created_at, died_at
FROM holdfast_dead_message
WHERE id > $1 AND ($2::text IS NULL OR entity_type = $2)
ORDER BY id LIMIT $3;

-- inbox: reads the oldest inbox rows: of all shards, or of these alone.
SELECT id, shard, kind, body, created_at FROM holdfast_inbox
WHERE id = ANY (ARRAY (
    SELECT id FROM (
        SELECT id FROM holdfast_inbox WHERE $2::integer[] IS NULL ORDER BY id LIMIT $1
    ) AS everywhere
    UNION ALL
    SELECT id FROM unnest($2::integer[]) AS place (number), LATERAL (
        SELECT id FROM holdfast_inbox WHERE shard = number ORDER BY id LIMIT $1
    ) AS here
))
ORDER BY id LIMIT $1;

-- inbox_by_id: reads one inbox row.
SELECT id, shard, kind, body, created_at FROM holdfast_inbox WHERE id = $1;
