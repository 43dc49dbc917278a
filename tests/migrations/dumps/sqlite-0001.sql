
PRAGMA page_size=4096;

BEGIN TRANSACTION;

DROP TABLE IF EXISTS holdfast_counter;
CREATE TABLE holdfast_counter (
    name TEXT NOT NULL PRIMARY KEY,
    next INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO holdfast_counter VALUES('id',52908911);
INSERT INTO holdfast_counter VALUES('runner',3);

DROP TABLE IF EXISTS holdfast_dead_message;
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
INSERT INTO holdfast_dead_message VALUES(12291,52,'Book','fourth','note_at_once',X'91A464656164',X'',NULL,NULL,1,0,'note_at_once on Book/fourth failed 1 times; last: OSError: the bank is closed',1795370478967660,1795370478974998);

DROP TABLE IF EXISTS holdfast_done;
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
INSERT INTO holdfast_done VALUES(12289,21,'Book','main','note','kept',X'505ADD3032B8F06AD7D7C43A53288A70',0,X'01',1,1795370478951446,1795370478951984,2,2);
INSERT INTO holdfast_done VALUES(12290,21,'Book','main','refuse',NULL,X'',1,X'92A75265667573656491A772656675736564',1,1795370478963522,1795370478963662,2,2);
INSERT INTO holdfast_done VALUES(12291,52,'Book','fourth','note_at_once',NULL,X'',2,X'6E6F74655F61745F6F6E6365206F6E20426F6F6B2F666F75727468206661696C656420312074696D65733B206C6173743A204F534572726F723A207468652062616E6B20697320636C6F736564',1,1795370478967660,1795370478975012,2,2);
CREATE INDEX holdfast_done_by_key ON holdfast_done (entity_type, entity_id, method, key) WHERE key IS NOT NULL;

DROP TABLE IF EXISTS holdfast_inbox;
CREATE TABLE holdfast_inbox (
    id INTEGER PRIMARY KEY,
    shard INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    body BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
INSERT INTO holdfast_inbox VALUES(25146844,47,1,X'DC0012CE017FB5DC2FA4426F6F6BA57468697264A46E6F7465C40691A46C656674C410BBA21CD89145443637191656ED21955AA46C656674C000C000CE017FB5DC0000C0CF000660E143A8349400',1795370479269012);
INSERT INTO holdfast_inbox VALUES(52908910,45,2,X'DC0013CE0327536E2DA663686172676502C4029104C410493AC7B7038F644A539885056B4268E9A46C656674C005CED693A40000CF000660E143A834940000C0CF000660E143A8349400C0C0',1795370479269012);

DROP TABLE IF EXISTS holdfast_job;
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
INSERT INTO holdfast_job VALUES(12298,10,'charge',2,X'9107',X'',NULL,NULL,5,3600000000,4102444800000000,4102444800000000,0,0,NULL,1795370479158079,2,NULL,NULL);
INSERT INTO holdfast_job VALUES(12300,12,'charge_in_the_end',2,X'9108',X'',NULL,NULL,5,3600000000,1795370482229853,1795370482229853,1,0,'OSError: the bank is closed',1795370479175687,2,NULL,NULL);
INSERT INTO holdfast_job VALUES(12303,15,'charge_after_the_bank',2,X'9109',X'',NULL,NULL,5,3600000000,0,1795370479226829,0,0,NULL,1795370479226829,2,NULL,NULL);
INSERT INTO holdfast_job VALUES(12304,16,'charge',2,X'910A',X'',NULL,NULL,5,3600000000,0,1795370479239823,0,0,NULL,1795370479239823,2,NULL,NULL);
CREATE INDEX holdfast_job_available ON holdfast_job (shard, priority) WHERE due_at = 0;
CREATE UNIQUE INDEX holdfast_job_by_key ON holdfast_job (job_type, ifnull("group", ''), key) WHERE key IS NOT NULL;
CREATE INDEX holdfast_job_delayed ON holdfast_job (due_at) WHERE due_at > 0;
CREATE INDEX holdfast_job_delayed_by_shard ON holdfast_job (shard, priority, due_at) WHERE due_at > 0;
CREATE INDEX holdfast_job_placed ON holdfast_job (shard) WHERE "group" IS NOT NULL AND (attempt > 0 OR crashes > 0);

DROP TABLE IF EXISTS holdfast_job_archive;
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
INSERT INTO holdfast_job_archive VALUES(8197,5,'charge_at_once',2,X'9103',X'',NULL,NULL,1,3600000000,'dead',NULL,'OSError: the bank is closed','MaxRetries',1,1795370479097611,1795370479115025,2,2,12293,NULL,NULL);
INSERT INTO holdfast_job_archive VALUES(12292,3,'charge',2,X'',X'569C2BE7AB16FD0C5B8EF7E96120C654','kept',NULL,5,3600000000,'completed',X'02',NULL,NULL,1,1795370478989137,1795370479011541,2,2,NULL,NULL,NULL);
INSERT INTO holdfast_job_archive VALUES(12293,5,'charge_at_once',2,X'9103',X'',NULL,NULL,1,3600000000,'dead',NULL,'OSError: the bank is closed','MaxRetries',1,1795370479020161,1795370479038785,2,2,NULL,1795370479097611,NULL);
INSERT INTO holdfast_job_archive VALUES(12294,6,'charge_at_once',2,X'9103',X'',NULL,NULL,1,3600000000,'dead',NULL,'OSError: the bank is closed','MaxRetries',1,1795370479048071,1795370479063516,2,2,NULL,NULL,1795370479123911);
INSERT INTO holdfast_job_archive VALUES(12295,7,'charge_at_once',2,X'9103',X'',NULL,NULL,1,3600000000,'dead',NULL,'OSError: the bank is closed','MaxRetries',1,1795370479072160,1795370479091120,2,2,NULL,NULL,NULL);
INSERT INTO holdfast_job_archive VALUES(12296,8,'charge',2,X'',X'',NULL,NULL,5,3600000000,'cancelled',NULL,NULL,NULL,0,1795370479135562,1795370479139486,2,2,NULL,NULL,NULL);
CREATE INDEX holdfast_job_archive_by_key ON holdfast_job_archive (job_type, ifnull("group", ''), key)
    WHERE key IS NOT NULL;
CREATE INDEX holdfast_job_dead ON holdfast_job_archive (id)
    WHERE state = 'dead' AND replayed_at IS NULL AND discarded_at IS NULL;

DROP TABLE IF EXISTS holdfast_message;
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
INSERT INTO holdfast_message VALUES(1,20,'holdfast.schedule','close_the_year','occur',X'90',X'',NULL,NULL,1798761600000000,'occurrence',0,1,0,0,NULL,1795370475944399,1);
INSERT INTO holdfast_message VALUES(12297,21,'Book','main','note',X'91A761756469746564',X'5CB3D972B8BD4D3835A2F3C8AE47C047','audited',NULL,4102444800000000,'audit',0,12297,0,0,NULL,1795370479147628,2);
INSERT INTO holdfast_message VALUES(12299,45,'Book','second','note_in_the_end',X'91A57472696564',X'',NULL,NULL,1795370483216120,NULL,0,12299,1,0,'OSError: the bank is closed',1795370479167601,2);
INSERT INTO holdfast_message VALUES(12301,21,'Book','main','note_after_the_bank',X'91A468656C64',X'10F1B04E6736347994DB11E18A96831B','held',NULL,0,NULL,0,12301,0,0,NULL,1795370479207038,2);
INSERT INTO holdfast_message VALUES(12302,21,'Book','main','note',X'91A6626568696E64',X'A993831E21541E09A4366DF07B29BECF','behind',NULL,0,NULL,0,12302,0,0,NULL,1795370479214459,2);
CREATE INDEX holdfast_message_by_entity ON holdfast_message (entity_type, entity_id);
CREATE UNIQUE INDEX holdfast_message_by_key ON holdfast_message (entity_type, entity_id, method, key)
    WHERE key IS NOT NULL;
CREATE UNIQUE INDEX holdfast_message_by_name ON holdfast_message (entity_type, entity_id, name)
    WHERE name IS NOT NULL;
CREATE INDEX holdfast_message_delayed ON holdfast_message (due_at) WHERE due_at > 0;

DROP TABLE IF EXISTS holdfast_meta;
CREATE TABLE holdfast_meta (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO holdfast_meta VALUES('cluster_id','3eb69f6e118f1d7c4f4db6165b1b1404');

DROP TABLE IF EXISTS holdfast_migration;
CREATE TABLE holdfast_migration (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    checksum TEXT NOT NULL,
    applied_at INTEGER NOT NULL
) STRICT;
INSERT INTO holdfast_migration VALUES(1,'0001_first_tables','cf4d68388345a292ffe7b3f049931a2f122891d696febbc55d5abe554fc078b9',1795370475578977);

DROP TABLE IF EXISTS holdfast_runner;
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
INSERT INTO holdfast_runner VALUES(2,'unix:/tmp/tmprhou9hbx/store.db.sock','0.1.0','["Book","holdfast.schedule"]','["default"]',1.0,'active','active',1795370478766129,1795370484811255);

DROP TABLE IF EXISTS holdfast_shard;
CREATE TABLE holdfast_shard (
    number INTEGER PRIMARY KEY,
    "group" TEXT NOT NULL,
    runner_id INTEGER NOT NULL,
    epoch INTEGER NOT NULL
) STRICT;
INSERT INTO holdfast_shard VALUES(0,'default',2,2);
INSERT INTO holdfast_shard VALUES(1,'default',2,2);
INSERT INTO holdfast_shard VALUES(2,'default',2,2);
INSERT INTO holdfast_shard VALUES(3,'default',2,2);
INSERT INTO holdfast_shard VALUES(4,'default',2,2);
INSERT INTO holdfast_shard VALUES(5,'default',2,2);
INSERT INTO holdfast_shard VALUES(6,'default',2,2);
INSERT INTO holdfast_shard VALUES(7,'default',2,2);
INSERT INTO holdfast_shard VALUES(8,'default',2,2);
INSERT INTO holdfast_shard VALUES(9,'default',2,2);
INSERT INTO holdfast_shard VALUES(10,'default',2,2);
INSERT INTO holdfast_shard VALUES(11,'default',2,2);
INSERT INTO holdfast_shard VALUES(12,'default',2,2);
INSERT INTO holdfast_shard VALUES(13,'default',2,2);
INSERT INTO holdfast_shard VALUES(14,'default',2,2);
INSERT INTO holdfast_shard VALUES(15,'default',2,2);
INSERT INTO holdfast_shard VALUES(16,'default',2,2);
INSERT INTO holdfast_shard VALUES(17,'default',2,2);
INSERT INTO holdfast_shard VALUES(18,'default',2,2);
INSERT INTO holdfast_shard VALUES(19,'default',2,2);
INSERT INTO holdfast_shard VALUES(20,'default',2,2);
INSERT INTO holdfast_shard VALUES(21,'default',2,2);
INSERT INTO holdfast_shard VALUES(22,'default',2,2);
INSERT INTO holdfast_shard VALUES(23,'default',2,2);
INSERT INTO holdfast_shard VALUES(24,'default',2,2);
INSERT INTO holdfast_shard VALUES(25,'default',2,2);
INSERT INTO holdfast_shard VALUES(26,'default',2,2);
INSERT INTO holdfast_shard VALUES(27,'default',2,2);
INSERT INTO holdfast_shard VALUES(28,'default',2,2);
INSERT INTO holdfast_shard VALUES(29,'default',2,2);
INSERT INTO holdfast_shard VALUES(30,'default',2,2);
INSERT INTO holdfast_shard VALUES(31,'default',2,2);
INSERT INTO holdfast_shard VALUES(32,'default',2,2);
INSERT INTO holdfast_shard VALUES(33,'default',2,2);
INSERT INTO holdfast_shard VALUES(34,'default',2,2);
INSERT INTO holdfast_shard VALUES(35,'default',2,2);
INSERT INTO holdfast_shard VALUES(36,'default',2,2);
INSERT INTO holdfast_shard VALUES(37,'default',2,2);
INSERT INTO holdfast_shard VALUES(38,'default',2,2);
INSERT INTO holdfast_shard VALUES(39,'default',2,2);
INSERT INTO holdfast_shard VALUES(40,'default',2,2);
INSERT INTO holdfast_shard VALUES(41,'default',2,2);
INSERT INTO holdfast_shard VALUES(42,'default',2,2);
INSERT INTO holdfast_shard VALUES(43,'default',2,2);
INSERT INTO holdfast_shard VALUES(44,'default',2,2);
INSERT INTO holdfast_shard VALUES(45,'default',2,2);
INSERT INTO holdfast_shard VALUES(46,'default',2,2);
INSERT INTO holdfast_shard VALUES(47,'default',2,2);
INSERT INTO holdfast_shard VALUES(48,'default',2,2);
INSERT INTO holdfast_shard VALUES(49,'default',2,2);
INSERT INTO holdfast_shard VALUES(50,'default',2,2);
INSERT INTO holdfast_shard VALUES(51,'default',2,2);
INSERT INTO holdfast_shard VALUES(52,'default',2,2);
INSERT INTO holdfast_shard VALUES(53,'default',2,2);
INSERT INTO holdfast_shard VALUES(54,'default',2,2);
INSERT INTO holdfast_shard VALUES(55,'default',2,2);
INSERT INTO holdfast_shard VALUES(56,'default',2,2);
INSERT INTO holdfast_shard VALUES(57,'default',2,2);
INSERT INTO holdfast_shard VALUES(58,'default',2,2);
INSERT INTO holdfast_shard VALUES(59,'default',2,2);
INSERT INTO holdfast_shard VALUES(60,'default',2,2);
INSERT INTO holdfast_shard VALUES(61,'default',2,2);
INSERT INTO holdfast_shard VALUES(62,'default',2,2);
INSERT INTO holdfast_shard VALUES(63,'default',2,2);

DROP TABLE IF EXISTS holdfast_shard_group;
CREATE TABLE holdfast_shard_group (
    name TEXT NOT NULL PRIMARY KEY,
    first INTEGER NOT NULL,
    shards INTEGER NOT NULL,
    types TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO holdfast_shard_group VALUES('default',0,64,'["Book","holdfast.schedule"]');

DROP TABLE IF EXISTS holdfast_start;
CREATE TABLE holdfast_start (
    id INTEGER PRIMARY KEY,
    owner INTEGER NOT NULL,
    executor INTEGER NOT NULL,
    attempts BLOB NOT NULL,
    started_at INTEGER NOT NULL
) STRICT;
INSERT INTO holdfast_start VALUES(8200,2,2,X'5B5B31323330332C315D5D',1795370479235149);

DROP TABLE IF EXISTS holdfast_state;
CREATE TABLE holdfast_state (
    shard INTEGER NOT NULL,
    entity_type TEXT NOT NULL,
    entity_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    schema INTEGER NOT NULL,
    state BLOB NOT NULL
) STRICT;
INSERT INTO holdfast_state VALUES(20,'holdfast.schedule','close_the_year',1,1,X'89A463726F6EA930203020312031202AA2747AA3555443A86A6F625F74797065AE636C6F73655F7468655F79656172A6706175736564C2AD736574746C65645F756E74696CCF000660E143757877A76E6578745F6174CF000663F6D2342000A76C6173745F617400A86C6173745F6A6F62A0A66D697373656400');
INSERT INTO holdfast_state VALUES(17,'Book','old',1,1,X'81A56C696E657391A9666F72676F7474656E');
INSERT INTO holdfast_state VALUES(21,'Book','main',1,1,X'81A56C696E657391A46B657074');
CREATE UNIQUE INDEX holdfast_state_by_entity ON holdfast_state (entity_type, entity_id);

DROP TABLE IF EXISTS holdfast_tally;
CREATE TABLE holdfast_tally (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    priority INTEGER NOT NULL,
    what TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (kind, name, priority, what)
) STRICT, WITHOUT ROWID;
INSERT INTO holdfast_tally VALUES('counted_by','1',0,'admitted',2);
INSERT INTO holdfast_tally VALUES('job','charge',2,'completed',1);
INSERT INTO holdfast_tally VALUES('job','charge',2,'discarded',0);
INSERT INTO holdfast_tally VALUES('job','charge',2,'enqueued',1);
INSERT INTO holdfast_tally VALUES('job','charge',2,'replayed',0);
INSERT INTO holdfast_tally VALUES('message','Book',0,'delivered_once',1);
INSERT INTO holdfast_tally VALUES('message','Book',0,'deliveries',1);
INSERT INTO holdfast_tally VALUES('message','Book',0,'done',1);

COMMIT TRANSACTION;
