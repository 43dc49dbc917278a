-- The first tables, in whatever schema the connection's search_path names first. Tables that fill and empty all day are
-- vacuumed by their number of dead rows, not by a share of the table; an index that serves only keyed, delayed or
-- named rows is partial, so that the others do not pay for it.

-- Leases and whatever else runners compare are on this clock, in microseconds since the epoch.
CREATE FUNCTION holdfast_now() RETURNS bigint LANGUAGE sql VOLATILE
AS $$ SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint $$;

-- A statement whose guard failed calls this, and so takes back all that it has written.
CREATE FUNCTION holdfast_refuse(part text) RETURNS integer LANGUAGE plpgsql VOLATILE
AS $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'HF001', MESSAGE = part; END $$;

CREATE TABLE holdfast_meta (
    name text PRIMARY KEY,
    value text NOT NULL
);

CREATE TABLE holdfast_counter (
    name text PRIMARY KEY,
    next bigint NOT NULL
) WITH (fillfactor = 10);

INSERT INTO holdfast_counter (name, next) VALUES ('id', 1);

-- Ids come in blocks. A user's own transaction takes a block here, where nobody waits for its end; whoever keeps ids for
-- later takes one through the row above, whose commit makes sure that a crash of the server does not give it out again.
CREATE SEQUENCE holdfast_id INCREMENT 65536;

INSERT INTO holdfast_meta (name, value) VALUES ('cluster_id', replace(gen_random_uuid()::text, '-', ''));

CREATE TABLE holdfast_runner (
    runner_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    address text NOT NULL,
    version text NOT NULL,
    types text NOT NULL,
    groups text NOT NULL,
    weight double precision NOT NULL,
    state text NOT NULL,
    wanted text NOT NULL,
    started_at bigint NOT NULL,
    expires_at bigint NOT NULL
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

-- One row per session that writes, locked by each of its writes. It goes with the runner's row, hence a reaper waits for
-- the write under way, and every later one finds nothing. `flushes` is the number of the last batch that committed.
CREATE TABLE holdfast_fence (
    runner_id bigint NOT NULL REFERENCES holdfast_runner ON DELETE CASCADE,
    slot bigint GENERATED ALWAYS AS IDENTITY,
    flushes bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (runner_id, slot)
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- The last batch of a session whose fence row was taken away because nobody knew whether that batch had committed.
CREATE TABLE holdfast_fence_end (
    runner_id bigint NOT NULL REFERENCES holdfast_runner ON DELETE CASCADE,
    slot bigint NOT NULL,
    flushes bigint NOT NULL,
    PRIMARY KEY (runner_id, slot)
);

-- A group's shards are numbered from `first` on, so that a number means the same shard in the whole store.
CREATE TABLE holdfast_shard_group (
    name text PRIMARY KEY,
    first integer NOT NULL,
    shards integer NOT NULL,
    types text NOT NULL
);

-- Nobody owns a shard without runner_id, and that is how a reaped runner leaves it.
CREATE TABLE holdfast_shard (
    number integer PRIMARY KEY,
    "group" text NOT NULL REFERENCES holdfast_shard_group,
    runner_id bigint REFERENCES holdfast_runner ON DELETE SET NULL,
    epoch bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
CREATE INDEX holdfast_shard_by_runner ON holdfast_shard (runner_id);

-- No unique key but the id: with one, a user's open transaction would hold up the owner's whole flush.
CREATE TABLE holdfast_inbox (
    id bigint PRIMARY KEY,
    shard integer NOT NULL,
    kind smallint NOT NULL,
    body bytea NOT NULL,
    created_at bigint NOT NULL
) WITH (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 5000
);
CREATE INDEX holdfast_inbox_by_shard ON holdfast_inbox (shard, id);

-- Room on each page, so that a state is replaced on the page where it is and no index hears of it.
CREATE TABLE holdfast_state (
    shard integer NOT NULL,
    entity_type text NOT NULL,
    entity_id text NOT NULL,
    version bigint NOT NULL,
    schema integer NOT NULL,
    state bytea NOT NULL,
    PRIMARY KEY (entity_id, entity_type)
) WITH (
    fillfactor = 75,
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0
);

CREATE TABLE holdfast_message (
    id bigint PRIMARY KEY,
    shard integer NOT NULL,
    entity_type text NOT NULL,
    entity_id text NOT NULL,
    method text NOT NULL,
    payload bytea NOT NULL,
    payload_hash bytea NOT NULL,
    key text,
    headers bytea,
    due_at bigint NOT NULL,
    name text,
    every_us bigint NOT NULL,
    generation bigint NOT NULL,
    deliveries integer NOT NULL,
    crashes integer NOT NULL,
    last_error text,
    created_at bigint NOT NULL,
    admitted_by bigint NOT NULL
) WITH (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 5000,
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 50000
);
CREATE INDEX holdfast_message_by_entity ON holdfast_message (entity_id, entity_type, id);
CREATE INDEX holdfast_message_at_once ON holdfast_message (shard, id) WHERE due_at = 0;
CREATE INDEX holdfast_message_delayed ON holdfast_message (shard, due_at, id) WHERE due_at > 0;
CREATE UNIQUE INDEX holdfast_message_by_key ON holdfast_message (entity_id, entity_type, method, key)
    WHERE key IS NOT NULL;
CREATE UNIQUE INDEX holdfast_message_by_name ON holdfast_message (entity_id, entity_type, name)
    WHERE name IS NOT NULL;

CREATE TABLE holdfast_done (
    id bigint PRIMARY KEY,
    shard integer NOT NULL,
    entity_type text NOT NULL,
    entity_id text NOT NULL,
    method text NOT NULL,
    key text,
    payload_hash bytea NOT NULL,
    kind smallint NOT NULL,
    outcome bytea,
    deliveries integer NOT NULL,
    created_at bigint NOT NULL,
    finished_at bigint NOT NULL,
    admitted_by bigint NOT NULL,
    finished_by bigint NOT NULL
) WITH (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000);
CREATE INDEX holdfast_done_by_key ON holdfast_done (entity_id, entity_type, method, key) WHERE key IS NOT NULL;

CREATE TABLE holdfast_dead_message (
    id bigint PRIMARY KEY,
    shard integer NOT NULL,
    entity_type text NOT NULL,
    entity_id text NOT NULL,
    method text NOT NULL,
    payload bytea NOT NULL,
    payload_hash bytea NOT NULL,
    key text,
    headers bytea,
    deliveries integer NOT NULL,
    crashes integer NOT NULL,
    last_error text NOT NULL,
    created_at bigint NOT NULL,
    died_at bigint NOT NULL
);

CREATE TABLE holdfast_job (
    id bigint PRIMARY KEY,
    shard integer NOT NULL,
    job_type text NOT NULL,
    priority smallint NOT NULL,
    payload bytea NOT NULL,
    payload_hash bytea NOT NULL,
    key text,
    "group" text,
    max_attempts integer NOT NULL,
    timeout_us bigint NOT NULL,
    due_at bigint NOT NULL,
    eligible_at bigint NOT NULL,
    attempt integer NOT NULL,
    crashes integer NOT NULL,
    last_error text,
    created_at bigint NOT NULL,
    admitted_by bigint NOT NULL,
    replay_of bigint,
    headers bytea
) WITH (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 10000,
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000
);
CREATE INDEX holdfast_job_available ON holdfast_job (shard, priority, id) WHERE due_at = 0;
CREATE INDEX holdfast_job_delayed ON holdfast_job (shard, due_at, id, priority) WHERE due_at > 0;
CREATE INDEX holdfast_job_placed ON holdfast_job (shard) WHERE "group" IS NOT NULL AND (attempt > 0 OR crashes > 0);
CREATE UNIQUE INDEX holdfast_job_by_key ON holdfast_job (job_type, coalesce("group", ''), key) WHERE key IS NOT NULL;

CREATE TABLE holdfast_job_archive (
    id bigint PRIMARY KEY,
    shard integer NOT NULL,
    job_type text NOT NULL,
    priority smallint NOT NULL,
    payload bytea NOT NULL,
    payload_hash bytea NOT NULL,
    key text,
    "group" text,
    max_attempts integer NOT NULL,
    timeout_us bigint NOT NULL,
    state text NOT NULL,
    result bytea,
    error text,
    reason text,
    attempts integer NOT NULL,
    created_at bigint NOT NULL,
    finished_at bigint NOT NULL,
    admitted_by bigint NOT NULL,
    finished_by bigint NOT NULL,
    replay_of bigint,
    replayed_at bigint,
    discarded_at bigint
) WITH (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000);
CREATE INDEX holdfast_job_archive_by_key ON holdfast_job_archive (job_type, coalesce("group", ''), key, id)
    WHERE key IS NOT NULL;
CREATE INDEX holdfast_job_dead ON holdfast_job_archive (id)
    WHERE state = 'dead' AND replayed_at IS NULL AND discarded_at IS NULL;

CREATE TABLE holdfast_start (
    id bigint PRIMARY KEY,
    owner bigint NOT NULL,
    executor bigint NOT NULL,
    attempts bytea NOT NULL,
    started_at bigint NOT NULL
) WITH (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 2000
);

-- What the ledger still has to count of rows that retention took away.
CREATE TABLE holdfast_tally (
    kind text NOT NULL,
    name text NOT NULL,
    priority integer NOT NULL,
    what text NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (kind, name, priority, what)
);
