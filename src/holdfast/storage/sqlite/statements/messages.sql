-- state: reads an entity's state.
SELECT version, schema, state FROM holdfast_state WHERE entity_type = ? AND entity_id = ?;

-- states_of: reads the states of a type's entities, by id.
SELECT entity_id, version, schema, state FROM holdfast_state
WHERE entity_type = ? AND entity_id > ? ORDER BY entity_id LIMIT ?;

-- messages_pending: reads stored messages that are due, by id.
SELECT
    id, shard, entity_type, entity_id, method, payload, payload_hash, key, headers, due_at, name, every_us, generation,
    deliveries, crashes, last_error, created_at, admitted_by
FROM holdfast_message
WHERE id > :after AND due_at <= :due_before AND (:shards IS NULL OR shard IN (SELECT value FROM json_each(:shards)))
ORDER BY id LIMIT :limit;

-- messages_pending_of: reads one entity's stored messages that are due, by id.
SELECT
    id, shard, entity_type, entity_id, method, payload, payload_hash, key, headers, due_at, name, every_us, generation,
    deliveries, crashes, last_error, created_at, admitted_by
FROM holdfast_message
WHERE entity_type = :entity_type AND entity_id = :entity_id AND id > :after AND due_at <= :due_before
ORDER BY id LIMIT :limit;

-- messages_upcoming: reads stored messages that are not due yet, soonest first.
SELECT
    id, shard, entity_type, entity_id, method, payload, payload_hash, key, headers, due_at, name, every_us, generation,
    deliveries, crashes, last_error, created_at, admitted_by
FROM holdfast_message
WHERE due_at > 0 AND due_at > :due_after AND (:shards IS NULL OR shard IN (SELECT value FROM json_each(:shards)))
ORDER BY due_at, id LIMIT :limit;

-- message_timer: reads the pending timer of a name.
SELECT
    id, shard, entity_type, entity_id, method, payload, payload_hash, key, headers, due_at, name, every_us, generation,
    deliveries, crashes, last_error, created_at, admitted_by
FROM holdfast_message WHERE entity_type = ? AND entity_id = ? AND name = ?;

-- message_by_id: reads a stored message.
SELECT
    id, shard, entity_type, entity_id, method, payload, payload_hash, key, headers, due_at, name, every_us, generation,
    deliveries, crashes, last_error, created_at, admitted_by
FROM holdfast_message WHERE id = ?;

-- message_by_key: reads the stored message that holds an idempotency key.
SELECT
    id, shard, entity_type, entity_id, method, payload, payload_hash, key, headers, due_at, name, every_us, generation,
    deliveries, crashes, last_error, created_at, admitted_by
FROM holdfast_message WHERE entity_type = ? AND entity_id = ? AND method = ? AND key = ?;

-- done_by_id: reads the outcome of a durable message.
SELECT
    id, shard, entity_type, entity_id, method, key, payload_hash, kind, outcome, deliveries, created_at, finished_at,
    admitted_by, finished_by
FROM holdfast_done WHERE id = ?;

-- done_by_key: reads the newest outcome under an idempotency key; a refused duplicate (kind 3) has none of its own.
SELECT
    id, shard, entity_type, entity_id, method, key, payload_hash, kind, outcome, deliveries, created_at, finished_at,
    admitted_by, finished_by
FROM holdfast_done
WHERE entity_type = ? AND entity_id = ? AND method = ? AND key = ? AND kind <> 3
ORDER BY id DESC LIMIT 1;

-- messages_dead: reads dead letters, by id.
SELECT
    id, shard, entity_type, entity_id, method, payload, payload_hash, key, headers, deliveries, crashes, last_error,
    created_at, died_at
FROM holdfast_dead_message
WHERE id > :after AND (:entity_type IS NULL OR entity_type = :entity_type)
ORDER BY id LIMIT :limit;

-- inbox: reads the oldest inbox rows.
SELECT id, shard, kind, body, created_at FROM holdfast_inbox
WHERE (:shards IS NULL OR shard IN (SELECT value FROM json_each(:shards)))
ORDER BY id LIMIT :limit;

-- inbox_by_id: reads one inbox row.
SELECT id, shard, kind, body, created_at FROM holdfast_inbox WHERE id = ?;
