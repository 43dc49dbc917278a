-- What a batch is sent as: for each kind of row one array of such values. They are not the tables' own types, so that a
-- table may get a column while runners of the version before still write.

CREATE TYPE holdfast_inbox_row AS (id bigint, shard integer, kind smallint, body bytea, created_at bigint);

CREATE TYPE holdfast_state_row AS (
    shard integer, entity_type text, entity_id text, version bigint, schema integer, state bytea
);

CREATE TYPE holdfast_message_row AS (
    id bigint, shard integer, entity_type text, entity_id text, method text, payload bytea, payload_hash bytea,
    key text, headers bytea, due_at bigint, name text, every_us bigint, generation bigint, deliveries integer,
    crashes integer, last_error text, created_at bigint, admitted_by bigint
);

CREATE TYPE holdfast_message_retry AS (
    deliveries integer, crashes integer, due_at bigint, last_error text, id bigint
);

CREATE TYPE holdfast_done_row AS (
    id bigint, shard integer, entity_type text, entity_id text, method text, key text, payload_hash bytea,
    kind smallint, outcome bytea, deliveries integer, created_at bigint, finished_at bigint, admitted_by bigint,
    finished_by bigint
);

CREATE TYPE holdfast_dead_message_row AS (
    id bigint, shard integer, entity_type text, entity_id text, method text, payload bytea, payload_hash bytea,
    key text, headers bytea, deliveries integer, crashes integer, last_error text, created_at bigint, died_at bigint
);

CREATE TYPE holdfast_timer_name AS (entity_type text, entity_id text, name text);

CREATE TYPE holdfast_job_row AS (
    id bigint, shard integer, job_type text, priority smallint, payload bytea, payload_hash bytea, key text,
    "group" text, max_attempts integer, timeout_us bigint, due_at bigint, eligible_at bigint, attempt integer,
    crashes integer, last_error text, created_at bigint, admitted_by bigint, replay_of bigint, headers bytea
);

CREATE TYPE holdfast_job_retry AS (
    attempt integer, crashes integer, due_at bigint, eligible_at bigint, last_error text, id bigint, expected integer
);

CREATE TYPE holdfast_job_end AS (
    id bigint, expected integer, state text, result bytea, error text, reason text, attempts integer,
    finished_at bigint, finished_by bigint
);

CREATE TYPE holdfast_archived_job AS (
    id bigint, shard integer, job_type text, priority smallint, payload bytea, payload_hash bytea, key text,
    "group" text, max_attempts integer, timeout_us bigint, state text, result bytea, error text, reason text,
    attempts integer, created_at bigint, finished_at bigint, admitted_by bigint, finished_by bigint, replay_of bigint,
    replayed_at bigint, discarded_at bigint
);

CREATE TYPE holdfast_job_mark AS (moment bigint, id bigint);

CREATE TYPE holdfast_start_row AS (id bigint, owner bigint, executor bigint, attempts bytea, started_at bigint);
