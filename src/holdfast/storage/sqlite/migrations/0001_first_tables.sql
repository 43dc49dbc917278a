-- The first tables. Every table appends by rowid (a clustered text key costs three times as much to write), and an
-- index that serves only keyed, delayed or named rows is partial, so that the others do not pay for it.

CREATE TABLE holdfast_meta (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE holdfast_counter (
    name TEXT NOT NULL PRIMARY KEY,
    next INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO holdfast_counter (name, next) VALUES ('id', 1), ('runner', 1);
INSERT INTO holdfast_meta (name, value) VALUES ('cluster_id', lower(hex(randomblob(16))));

CREATE TABLE holdfast_runner (
    runner_id INTEGER PRIMARY KEY,
    address TEXT NOT NULL,
    version TEXT NOT NULL,
    types TEXT NOT NULL,
    groups TEXT NOT NULL,
    weight REAL NOT NULL,
    state TEXT NOT NULL,
    wanted TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

-- A group's shards are numbered from `first` on, so that a number means the same shard in the whole store.
CREATE TABLE holdfast_shard_group (
    name TEXT NOT NULL PRIMARY KEY,
    first INTEGER NOT NULL,
    shards INTEGER NOT NULL,
    types TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE holdfast_shard (
    number INTEGER PRIMARY KEY,
    "group" TEXT NOT NULL,
    runner_id INTEGER NOT NULL,
    epoch INTEGER NOT NULL
) STRICT;

CREATE TABLE holdfast_inbox (
    id INTEGER PRIMARY KEY,
    shard INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    body BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE holdfast_state (
    shard INTEGER NOT NULL,
    entity_type TEXT NOT NULL,
    entity_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    schema INTEGER NOT NULL,
    state BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX holdfast_state_by_entity ON holdfast_state (entity_type, entity_id);

CREATE TABLE holdfast_message (
    id INTEGER PRIMARY KEY,
    shard INTEGER NOT NULL,
    entity_type TEXT NOT NULL,
    entity_id TEXT NOT NULL,
    method TEXT NOT NULL,
    payload BLOB NOT NULL,
    payload_hash BLOB NOT NULL,
    key TEXT,
    headers BLOB,
    due_at INTEGER NOT NULL,
    name TEXT,
    every_us INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    deliveries INTEGER NOT NULL,
    crashes INTEGER NOT NULL,
    last_error TEXT,
    created_at INTEGER NOT NULL,
    admitted_by INTEGER NOT NULL
) STRICT;
CREATE INDEX holdfast_message_by_entity ON holdfast_message (entity_type, entity_id);
CREATE INDEX holdfast_message_delayed ON holdfast_message (due_at) WHERE due_at > 0;
CREATE UNIQUE INDEX holdfast_message_by_key ON holdfast_message (entity_type, entity_id, method, key)
    WHERE key IS NOT NULL;
CREATE UNIQUE INDEX holdfast_message_by_name ON holdfast_message (entity_type, entity_id, name)
    WHERE name IS NOT NULL;

CREATE TABLE holdfast_done (
    id INTEGER PRIMARY KEY,
    shard INTEGER NOT NULL,
    entity_type TEXT NOT NULL,
    entity_id TEXT NOT NULL,
    method TEXT NOT NULL,
    key TEXT,
    payload_hash BLOB NOT NULL,
    kind INTEGER NOT NULL,
    outcome BLOB,
    deliveries INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    finished_at INTEGER NOT NULL,
    admitted_by INTEGER NOT NULL,
    finished_by INTEGER NOT NULL
) STRICT;
CREATE INDEX holdfast_done_by_key ON holdfast_done (entity_type, entity_id, method, key) WHERE key IS NOT NULL;

CREATE TABLE holdfast_dead_message (
    id INTEGER PRIMARY KEY,
    shard INTEGER NOT NULL,
    entity_type TEXT NOT NULL,
    entity_id TEXT NOT NULL,
    method TEXT NOT NULL,
    payload BLOB NOT NULL,
    payload_hash BLOB NOT NULL,
    key TEXT,
    headers BLOB,
    deliveries INTEGER NOT NULL,
    crashes INTEGER NOT NULL,
    last_error TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    died_at INTEGER NOT NULL
) STRICT;

CREATE TABLE holdfast_job (
    id INTEGER PRIMARY KEY,
    shard INTEGER NOT NULL,
    job_type TEXT NOT NULL,
    priority INTEGER NOT NULL,
    payload BLOB NOT NULL,
    payload_hash BLOB NOT NULL,
    key TEXT,
    "group" TEXT,
    max_attempts INTEGER NOT NULL,
    timeout_us INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    eligible_at INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    crashes INTEGER NOT NULL,
    last_error TEXT,
    created_at INTEGER NOT NULL,
    admitted_by INTEGER NOT NULL,
    replay_of INTEGER,
    headers BLOB
) STRICT;
-- The rowid, which is the id, is the last part of every index: this one reads a window in the order of ids.
CREATE INDEX holdfast_job_available ON holdfast_job (shard, priority) WHERE due_at = 0;
CREATE INDEX holdfast_job_delayed ON holdfast_job (due_at) WHERE due_at > 0;
CREATE INDEX holdfast_job_delayed_by_shard ON holdfast_job (shard, priority, due_at) WHERE due_at > 0;
CREATE INDEX holdfast_job_placed ON holdfast_job (shard) WHERE "group" IS NOT NULL AND (attempt > 0 OR crashes > 0);
CREATE UNIQUE INDEX holdfast_job_by_key ON holdfast_job (job_type, ifnull("group", ''), key) WHERE key IS NOT NULL;

CREATE TABLE holdfast_job_archive (
    id INTEGER PRIMARY KEY,
    shard INTEGER NOT NULL,
    job_type TEXT NOT NULL,
    priority INTEGER NOT NULL,
    payload BLOB NOT NULL,
    payload_hash BLOB NOT NULL,
    key TEXT,
    "group" TEXT,
    max_attempts INTEGER NOT NULL,
    timeout_us INTEGER NOT NULL,
    state TEXT NOT NULL,
    result BLOB,
    error TEXT,
    reason TEXT,
    attempts INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    finished_at INTEGER NOT NULL,
    admitted_by INTEGER NOT NULL,
    finished_by INTEGER NOT NULL,
    replay_of INTEGER,
    replayed_at INTEGER,
    discarded_at INTEGER
) STRICT;
CREATE INDEX holdfast_job_archive_by_key ON holdfast_job_archive (job_type, ifnull("group", ''), key)
    WHERE key IS NOT NULL;
CREATE INDEX holdfast_job_dead ON holdfast_job_archive (id)
    WHERE state = 'dead' AND replayed_at IS NULL AND discarded_at IS NULL;

CREATE TABLE holdfast_start (
    id INTEGER PRIMARY KEY,
    owner INTEGER NOT NULL,
    executor INTEGER NOT NULL,
    attempts BLOB NOT NULL,
    started_at INTEGER NOT NULL
) STRICT;

-- What the ledger still has to count of rows that retention took away.
CREATE TABLE holdfast_tally (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    priority INTEGER NOT NULL,
    what TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (kind, name, priority, what)
) STRICT, WITHOUT ROWID;
