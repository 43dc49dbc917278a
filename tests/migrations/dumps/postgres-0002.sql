CREATE TYPE holdfast_archived_job AS (
	id bigint,
	shard integer,
	job_type text,
	priority smallint,
	payload bytea,
	payload_hash bytea,
	key text,
	"group" text,
	max_attempts integer,
	timeout_us bigint,
	state text,
	result bytea,
	error text,
	reason text,
	attempts integer,
	created_at bigint,
	finished_at bigint,
	admitted_by bigint,
	finished_by bigint,
	replay_of bigint,
	replayed_at bigint,
	discarded_at bigint
);
CREATE TYPE holdfast_dead_message_row AS (
	id bigint,
	shard integer,
	entity_type text,
	entity_id text,
	method text,
	payload bytea,
	payload_hash bytea,
	key text,
	headers bytea,
	deliveries integer,
	crashes integer,
	last_error text,
	created_at bigint,
	died_at bigint
);
CREATE TYPE holdfast_done_row AS (
	id bigint,
	shard integer,
	entity_type text,
	entity_id text,
	method text,
	key text,
	payload_hash bytea,
	kind smallint,
	outcome bytea,
	deliveries integer,
	created_at bigint,
	finished_at bigint,
	admitted_by bigint,
	finished_by bigint
);
CREATE TYPE holdfast_inbox_row AS (
	id bigint,
	shard integer,
	kind smallint,
	body bytea,
	created_at bigint
);
CREATE TYPE holdfast_job_end AS (
	id bigint,
	expected integer,
	state text,
	result bytea,
	error text,
	reason text,
	attempts integer,
	finished_at bigint,
	finished_by bigint
);
CREATE TYPE holdfast_job_mark AS (
	moment bigint,
	id bigint
);
CREATE TYPE holdfast_job_retry AS (
	attempt integer,
	crashes integer,
	due_at bigint,
	eligible_at bigint,
	last_error text,
	id bigint,
	expected integer
);
CREATE TYPE holdfast_job_row AS (
	id bigint,
	shard integer,
	job_type text,
	priority smallint,
	payload bytea,
	payload_hash bytea,
	key text,
	"group" text,
	max_attempts integer,
	timeout_us bigint,
	due_at bigint,
	eligible_at bigint,
	attempt integer,
	crashes integer,
	last_error text,
	created_at bigint,
	admitted_by bigint,
	replay_of bigint,
	headers bytea
);
CREATE TYPE holdfast_message_retry AS (
	deliveries integer,
	crashes integer,
	due_at bigint,
	last_error text,
	id bigint
);
CREATE TYPE holdfast_message_row AS (
	id bigint,
	shard integer,
	entity_type text,
	entity_id text,
	method text,
	payload bytea,
	payload_hash bytea,
	key text,
	headers bytea,
	due_at bigint,
	name text,
	every_us bigint,
	generation bigint,
	deliveries integer,
	crashes integer,
	last_error text,
	created_at bigint,
	admitted_by bigint
);
CREATE TYPE holdfast_start_row AS (
	id bigint,
	owner bigint,
	executor bigint,
	attempts bytea,
	started_at bigint
);
CREATE TYPE holdfast_state_row AS (
	shard integer,
	entity_type text,
	entity_id text,
	version bigint,
	schema integer,
	state bytea
);
CREATE TYPE holdfast_timer_name AS (
	entity_type text,
	entity_id text,
	name text
);
CREATE FUNCTION holdfast_now() RETURNS bigint
    LANGUAGE sql
    AS $$ SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint $$;
CREATE FUNCTION holdfast_refuse(part text) RETURNS integer
    LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'HF001', MESSAGE = part; END $$;
CREATE TABLE holdfast_counter (
    name text NOT NULL,
    next bigint NOT NULL
)
WITH (fillfactor='10');
CREATE TABLE holdfast_dead_message (
    id bigint NOT NULL,
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
CREATE TABLE holdfast_done (
    id bigint NOT NULL,
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
)
WITH (autovacuum_vacuum_insert_scale_factor='0', autovacuum_vacuum_insert_threshold='100000');
CREATE TABLE holdfast_fence (
    runner_id bigint NOT NULL,
    slot bigint NOT NULL,
    flushes bigint DEFAULT 0 NOT NULL
)
WITH (fillfactor='10', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='5000');
CREATE TABLE holdfast_fence_end (
    runner_id bigint NOT NULL,
    slot bigint NOT NULL,
    flushes bigint NOT NULL
);
ALTER TABLE holdfast_fence ALTER COLUMN slot ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME holdfast_fence_slot_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE SEQUENCE holdfast_id
    START WITH 1
    INCREMENT BY 65536
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
CREATE TABLE holdfast_inbox (
    id bigint NOT NULL,
    shard integer NOT NULL,
    kind smallint NOT NULL,
    body bytea NOT NULL,
    created_at bigint NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='5000', autovacuum_vacuum_cost_delay='0', autovacuum_analyze_scale_factor='0', autovacuum_analyze_threshold='5000');
CREATE TABLE holdfast_job (
    id bigint NOT NULL,
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
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='10000', autovacuum_vacuum_cost_delay='0', autovacuum_analyze_scale_factor='0', autovacuum_analyze_threshold='10000', autovacuum_vacuum_insert_scale_factor='0', autovacuum_vacuum_insert_threshold='100000');
CREATE TABLE holdfast_job_archive (
    id bigint NOT NULL,
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
)
WITH (autovacuum_vacuum_insert_scale_factor='0', autovacuum_vacuum_insert_threshold='100000');
CREATE TABLE holdfast_message (
    id bigint NOT NULL,
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
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='5000', autovacuum_vacuum_cost_delay='0', autovacuum_analyze_scale_factor='0', autovacuum_analyze_threshold='5000', autovacuum_vacuum_insert_scale_factor='0', autovacuum_vacuum_insert_threshold='50000');
CREATE TABLE holdfast_meta (
    name text NOT NULL,
    value text NOT NULL
);
CREATE TABLE holdfast_migration (
    number integer NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at bigint NOT NULL
);
CREATE TABLE holdfast_runner (
    runner_id bigint NOT NULL,
    address text NOT NULL,
    version text NOT NULL,
    types text NOT NULL,
    groups text NOT NULL,
    weight double precision NOT NULL,
    state text NOT NULL,
    wanted text NOT NULL,
    started_at bigint NOT NULL,
    expires_at bigint NOT NULL
)
WITH (fillfactor='10', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='500');
ALTER TABLE holdfast_runner ALTER COLUMN runner_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME holdfast_runner_runner_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE holdfast_shard (
    number integer NOT NULL,
    "group" text NOT NULL,
    runner_id bigint,
    epoch bigint DEFAULT 0 NOT NULL
)
WITH (fillfactor='50');
CREATE TABLE holdfast_shard_group (
    name text NOT NULL,
    first integer NOT NULL,
    shards integer NOT NULL,
    types text NOT NULL
);
CREATE TABLE holdfast_start (
    id bigint NOT NULL,
    owner bigint NOT NULL,
    executor bigint NOT NULL,
    attempts bytea NOT NULL,
    started_at bigint NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='2000', autovacuum_vacuum_cost_delay='0', autovacuum_analyze_scale_factor='0', autovacuum_analyze_threshold='2000');
CREATE TABLE holdfast_state (
    shard integer NOT NULL,
    entity_type text NOT NULL,
    entity_id text NOT NULL,
    version bigint NOT NULL,
    schema integer NOT NULL,
    state bytea NOT NULL
)
WITH (fillfactor='75', autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='5000', autovacuum_vacuum_cost_delay='0');
CREATE TABLE holdfast_tally (
    kind text NOT NULL,
    name text NOT NULL,
    priority integer NOT NULL,
    what text NOT NULL,
    count bigint NOT NULL
);
INSERT INTO holdfast_counter VALUES ('id', 196609);
INSERT INTO holdfast_dead_message VALUES (196611, 52, 'Book', 'fourth', 'note_at_once', '\x91a464656164', '\x', NULL, NULL, 1, 0, 'note_at_once on Book/fourth failed 1 times; last: OSError: the bank is closed', 1795372147042662, 1795372147049280);
INSERT INTO holdfast_done VALUES (196609, 21, 'Book', 'main', 'note', 'kept', '\x505add3032b8f06ad7d7c43a53288a70', 0, '\x01', 1, 1795372146948499, 1795372146962617, 2, 2);
INSERT INTO holdfast_done VALUES (196610, 21, 'Book', 'main', 'refuse', NULL, '\x', 1, '\x92a75265667573656491a772656675736564', 1, 1795372147034651, 1795372147034877, 2, 2);
INSERT INTO holdfast_done VALUES (196611, 52, 'Book', 'fourth', 'note_at_once', NULL, '\x', 2, '\x6e6f74655f61745f6f6e6365206f6e20426f6f6b2f666f75727468206661696c656420312074696d65733b206c6173743a204f534572726f723a207468652062616e6b20697320636c6f736564', 1, 1795372147042662, 1795372147049296, 2, 2);
INSERT INTO holdfast_fence OVERRIDING SYSTEM VALUE VALUES (2, 2, 27);
INSERT INTO holdfast_fence_end VALUES (2, 2, 27);
INSERT INTO holdfast_inbox VALUES (309464, 47, 1, '\xdc0012ce0004b8d82fa4426f6f6ba57468697264a46e6f7465c40691a46c656674c410bba21cd89145443637191656ed21955aa46c656674c000c000ce0004b8d80000c0cf000660e1a71aeeba00', 1795372147732154);
INSERT INTO holdfast_inbox VALUES (373198, 45, 2, '\xdc0013ce0005b1ce2da663686172676502c4029104c410493ac7b7038f644a539885056b4268e9a46c656674c005ced693a40000cf000660e1a71b0b260000c0cf000660e1a71b0b2600c0c0', 1795372147739430);
INSERT INTO holdfast_job VALUES (196618, 10, 'charge', 2, '\x9107', '\x', NULL, NULL, 5, 3600000000, 4102444800000000, 4102444800000000, 0, 0, NULL, 1795372147500672, 2, NULL, NULL);
INSERT INTO holdfast_job VALUES (196620, 12, 'charge_in_the_end', 2, '\x9108', '\x', NULL, NULL, 5, 3600000000, 1795372150581612, 1795372150581612, 1, 0, 'OSError: the bank is closed', 1795372147530447, 2, NULL, NULL);
INSERT INTO holdfast_job VALUES (196623, 15, 'charge_after_the_bank', 2, '\x9109', '\x', NULL, NULL, 5, 3600000000, 0, 1795372147657838, 0, 0, NULL, 1795372147657838, 2, NULL, NULL);
INSERT INTO holdfast_job VALUES (196624, 16, 'charge', 2, '\x910a', '\x', NULL, NULL, 5, 3600000000, 0, 1795372147682201, 0, 0, NULL, 1795372147682201, 2, NULL, NULL);
INSERT INTO holdfast_job_archive VALUES (196612, 3, 'charge', 2, '\x', '\x569c2be7ab16fd0c5b8ef7e96120c654', 'kept', NULL, 5, 3600000000, 'completed', '\x02', NULL, NULL, 1, 1795372147087571, 1795372147171682, 2, 2, NULL, NULL, NULL);
INSERT INTO holdfast_job_archive VALUES (196615, 7, 'charge_at_once', 2, '\x9103', '\x', NULL, NULL, 1, 3600000000, 'dead', NULL, 'OSError: the bank is closed', 'MaxRetries', 1, 1795372147253501, 1795372147262459, 2, 2, NULL, NULL, NULL);
INSERT INTO holdfast_job_archive VALUES (196613, 5, 'charge_at_once', 2, '\x9103', '\x', NULL, NULL, 1, 3600000000, 'dead', NULL, 'OSError: the bank is closed', 'MaxRetries', 1, 1795372147209024, 1795372147218683, 2, 2, NULL, 1795372147298371, NULL);
INSERT INTO holdfast_job_archive VALUES (131077, 5, 'charge_at_once', 2, '\x9103', '\x', NULL, NULL, 1, 3600000000, 'dead', NULL, 'OSError: the bank is closed', 'MaxRetries', 1, 1795372147298371, 1795372147358712, 2, 2, 196613, NULL, NULL);
INSERT INTO holdfast_job_archive VALUES (196614, 6, 'charge_at_once', 2, '\x9103', '\x', NULL, NULL, 1, 3600000000, 'dead', NULL, 'OSError: the bank is closed', 'MaxRetries', 1, 1795372147238741, 1795372147241350, 2, 2, NULL, NULL, 1795372147395177);
INSERT INTO holdfast_job_archive VALUES (196616, 8, 'charge', 2, '\x', '\x', NULL, NULL, 5, 3600000000, 'cancelled', NULL, NULL, NULL, 0, 1795372147400187, 1795372147434874, 2, 2, NULL, NULL, NULL);
INSERT INTO holdfast_message VALUES (1, 20, 'holdfast.schedule', 'close_the_year', 'occur', '\x90', '\x', NULL, NULL, 1798761600000000, 'occurrence', 0, 1, 0, 0, NULL, 1795372140890858, 1);
INSERT INTO holdfast_message VALUES (196617, 21, 'Book', 'main', 'note', '\x91a761756469746564', '\x5cb3d972b8bd4d3835a2f3c8ae47c047', 'audited', NULL, 4102444800000000, 'audit', 0, 196617, 0, 0, NULL, 1795372147450623, 2);
INSERT INTO holdfast_message VALUES (196619, 45, 'Book', 'second', 'note_in_the_end', '\x91a57472696564', '\x', NULL, NULL, 1795372152181867, NULL, 0, 196619, 1, 0, 'OSError: the bank is closed', 1795372147506446, 2);
INSERT INTO holdfast_message VALUES (196621, 21, 'Book', 'main', 'note_after_the_bank', '\x91a468656c64', '\x10f1b04e6736347994db11e18a96831b', 'held', NULL, 0, NULL, 0, 196621, 0, 0, NULL, 1795372147638493, 2);
INSERT INTO holdfast_message VALUES (196622, 21, 'Book', 'main', 'note', '\x91a6626568696e64', '\xa993831e21541e09a4366df07b29becf', 'behind', NULL, 0, NULL, 0, 196622, 0, 0, NULL, 1795372147645536, 2);
INSERT INTO holdfast_meta VALUES ('cluster_id', '14fea921ed1f426b9340d66b60b7724c');
INSERT INTO holdfast_migration VALUES (1, '0001_first_tables', '0c4a52f98434a2a6fefa7fdb8df7d1b4ea5435ed535bad7fd3ee80e41ad3859e', 1795372140495785);
INSERT INTO holdfast_migration VALUES (2, '0002_row_types', 'e0813576056f852787c5fc0225790aa3c4876c288462e9b9267ab22814f36e83', 1795372140495785);
INSERT INTO holdfast_runner OVERRIDING SYSTEM VALUE VALUES (2, 'tcp:127.0.0.1:34173', '0.1.0', '["Book","holdfast.schedule"]', '["default"]', 1, 'active', 'active', 1795372143975208, 1795372152775728);
INSERT INTO holdfast_shard VALUES (0, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (1, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (2, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (3, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (4, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (5, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (6, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (7, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (8, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (9, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (10, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (11, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (12, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (13, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (14, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (15, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (16, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (17, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (18, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (19, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (20, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (21, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (22, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (23, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (24, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (25, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (26, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (27, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (28, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (29, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (30, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (31, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (32, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (33, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (34, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (35, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (36, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (37, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (38, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (39, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (40, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (41, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (42, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (43, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (44, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (45, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (46, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (47, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (48, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (49, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (50, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (51, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (52, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (53, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (54, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (55, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (56, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (57, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (58, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (59, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (60, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (61, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (62, 'default', 2, 2);
INSERT INTO holdfast_shard VALUES (63, 'default', 2, 2);
INSERT INTO holdfast_shard_group VALUES ('default', 0, 64, '["Book","holdfast.schedule"]');
INSERT INTO holdfast_start VALUES (131080, 2, 2, '\x5b5b3139363632332c315d5d', 1795372147662606);
INSERT INTO holdfast_state VALUES (20, 'holdfast.schedule', 'close_the_year', 1, 1, '\x89a463726f6ea930203020312031202aa2747aa3555443a86a6f625f74797065ae636c6f73655f7468655f79656172a6706175736564c2ad736574746c65645f756e74696ccf000660e1a6b289d7a76e6578745f6174cf000663f6d2342000a76c6173745f617400a86c6173745f6a6f62a0a66d697373656400');
INSERT INTO holdfast_state VALUES (17, 'Book', 'old', 1, 1, '\x81a56c696e657391a9666f72676f7474656e');
INSERT INTO holdfast_state VALUES (21, 'Book', 'main', 1, 1, '\x81a56c696e657391a46b657074');
INSERT INTO holdfast_tally VALUES ('message', 'Book', 0, 'delivered_once', 1);
INSERT INTO holdfast_tally VALUES ('message', 'Book', 0, 'deliveries', 1);
INSERT INTO holdfast_tally VALUES ('message', 'Book', 0, 'done', 1);
INSERT INTO holdfast_tally VALUES ('counted_by', '1', 0, 'admitted', 2);
INSERT INTO holdfast_tally VALUES ('job', 'charge', 2, 'completed', 1);
INSERT INTO holdfast_tally VALUES ('job', 'charge', 2, 'discarded', 0);
INSERT INTO holdfast_tally VALUES ('job', 'charge', 2, 'enqueued', 1);
INSERT INTO holdfast_tally VALUES ('job', 'charge', 2, 'replayed', 0);
SELECT pg_catalog.setval('holdfast_fence_slot_seq', 2, true);
SELECT pg_catalog.setval('holdfast_id', 327681, true);
SELECT pg_catalog.setval('holdfast_runner_runner_id_seq', 2, true);
ALTER TABLE ONLY holdfast_counter
    ADD CONSTRAINT holdfast_counter_pkey PRIMARY KEY (name);
ALTER TABLE ONLY holdfast_dead_message
    ADD CONSTRAINT holdfast_dead_message_pkey PRIMARY KEY (id);
ALTER TABLE ONLY holdfast_done
    ADD CONSTRAINT holdfast_done_pkey PRIMARY KEY (id);
ALTER TABLE ONLY holdfast_fence_end
    ADD CONSTRAINT holdfast_fence_end_pkey PRIMARY KEY (runner_id, slot);
ALTER TABLE ONLY holdfast_fence
    ADD CONSTRAINT holdfast_fence_pkey PRIMARY KEY (runner_id, slot);
ALTER TABLE ONLY holdfast_inbox
    ADD CONSTRAINT holdfast_inbox_pkey PRIMARY KEY (id);
ALTER TABLE ONLY holdfast_job_archive
    ADD CONSTRAINT holdfast_job_archive_pkey PRIMARY KEY (id);
ALTER TABLE ONLY holdfast_job
    ADD CONSTRAINT holdfast_job_pkey PRIMARY KEY (id);
ALTER TABLE ONLY holdfast_message
    ADD CONSTRAINT holdfast_message_pkey PRIMARY KEY (id);
ALTER TABLE ONLY holdfast_meta
    ADD CONSTRAINT holdfast_meta_pkey PRIMARY KEY (name);
ALTER TABLE ONLY holdfast_migration
    ADD CONSTRAINT holdfast_migration_pkey PRIMARY KEY (number);
ALTER TABLE ONLY holdfast_runner
    ADD CONSTRAINT holdfast_runner_pkey PRIMARY KEY (runner_id);
ALTER TABLE ONLY holdfast_shard_group
    ADD CONSTRAINT holdfast_shard_group_pkey PRIMARY KEY (name);
ALTER TABLE ONLY holdfast_shard
    ADD CONSTRAINT holdfast_shard_pkey PRIMARY KEY (number);
ALTER TABLE ONLY holdfast_start
    ADD CONSTRAINT holdfast_start_pkey PRIMARY KEY (id);
ALTER TABLE ONLY holdfast_state
    ADD CONSTRAINT holdfast_state_pkey PRIMARY KEY (entity_id, entity_type);
ALTER TABLE ONLY holdfast_tally
    ADD CONSTRAINT holdfast_tally_pkey PRIMARY KEY (kind, name, priority, what);
CREATE INDEX holdfast_done_by_key ON holdfast_done USING btree (entity_id, entity_type, method, key) WHERE (key IS NOT NULL);
CREATE INDEX holdfast_inbox_by_shard ON holdfast_inbox USING btree (shard, id);
CREATE INDEX holdfast_job_archive_by_key ON holdfast_job_archive USING btree (job_type, COALESCE("group", ''::text), key, id) WHERE (key IS NOT NULL);
CREATE INDEX holdfast_job_available ON holdfast_job USING btree (shard, priority, id) WHERE (due_at = 0);
CREATE UNIQUE INDEX holdfast_job_by_key ON holdfast_job USING btree (job_type, COALESCE("group", ''::text), key) WHERE (key IS NOT NULL);
CREATE INDEX holdfast_job_dead ON holdfast_job_archive USING btree (id) WHERE ((state = 'dead'::text) AND (replayed_at IS NULL) AND (discarded_at IS NULL));
CREATE INDEX holdfast_job_delayed ON holdfast_job USING btree (shard, due_at, id, priority) WHERE (due_at > 0);
CREATE INDEX holdfast_job_placed ON holdfast_job USING btree (shard) WHERE (("group" IS NOT NULL) AND ((attempt > 0) OR (crashes > 0)));
CREATE INDEX holdfast_message_at_once ON holdfast_message USING btree (shard, id) WHERE (due_at = 0);
CREATE INDEX holdfast_message_by_entity ON holdfast_message USING btree (entity_id, entity_type, id);
CREATE UNIQUE INDEX holdfast_message_by_key ON holdfast_message USING btree (entity_id, entity_type, method, key) WHERE (key IS NOT NULL);
CREATE UNIQUE INDEX holdfast_message_by_name ON holdfast_message USING btree (entity_id, entity_type, name) WHERE (name IS NOT NULL);
CREATE INDEX holdfast_message_delayed ON holdfast_message USING btree (shard, due_at, id) WHERE (due_at > 0);
CREATE INDEX holdfast_shard_by_runner ON holdfast_shard USING btree (runner_id);
ALTER TABLE ONLY holdfast_fence_end
    ADD CONSTRAINT holdfast_fence_end_runner_id_fkey FOREIGN KEY (runner_id) REFERENCES holdfast_runner(runner_id) ON DELETE CASCADE;
ALTER TABLE ONLY holdfast_fence
    ADD CONSTRAINT holdfast_fence_runner_id_fkey FOREIGN KEY (runner_id) REFERENCES holdfast_runner(runner_id) ON DELETE CASCADE;
ALTER TABLE ONLY holdfast_shard
    ADD CONSTRAINT holdfast_shard_group_fkey FOREIGN KEY ("group") REFERENCES holdfast_shard_group(name);
ALTER TABLE ONLY holdfast_shard
    ADD CONSTRAINT holdfast_shard_runner_id_fkey FOREIGN KEY (runner_id) REFERENCES holdfast_runner(runner_id) ON DELETE SET NULL;
