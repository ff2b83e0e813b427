-- The tables. Written by the storer, read through the views of 0002.
--
-- No table but `bodies` has a partition key. ReplacingMergeTree collapses only inside a partition, and a job
-- that is submitted again under the same id in another month must still collapse: with one partition the
-- rule holds by construction, whatever the reader filters by. `bodies` may be cut by month, because two rows
-- of one hash have the same content; so the bulk of the data expires by dropping whole parts.
--
-- `version` encodes the rule of outcomes (versions.py): the highest is the one that counts.
-- `non_replicated_deduplication_window` makes a plain MergeTree honour the insert's token; replicated engines
-- have a window of their own by default.
--
-- Every statement must be harmless when it is run again: a runner may die between any two of them.

CREATE TABLE IF NOT EXISTS bodies {on_cluster}
(
    body_hash   String                  COMMENT 'BLAKE2b-128 of the body, hex',
    accepted_at DateTime64(3, 'UTC')    COMMENT 'of the job that brought it',
    length      UInt64                  COMMENT 'bytes',
    body        String                  COMMENT 'as served, before any decoding of characters' CODEC(ZSTD(3))
)
ENGINE = {replicated}ReplacingMergeTree(accepted_at)
PARTITION BY toYYYYMM(accepted_at)
ORDER BY body_hash
SETTINGS index_granularity_bytes = 1048576, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000;

CREATE TABLE IF NOT EXISTS pages_log {on_cluster}
(
    run              LowCardinality(String),
    id               String                              COMMENT 'of the job',
    version          UInt128                             COMMENT 'the highest counts: the first in log order',
    url              String                              COMMENT 'of the job, without credentials',
    final_url        String                              COMMENT 'after redirects, without credentials',
    site             LowCardinality(String)              COMMENT 'of the job, whatever redirects say',
    status           UInt16,
    content_type     LowCardinality(String),
    charset          LowCardinality(String),
    body_hash        String,
    length           UInt64                              COMMENT 'of the body, bytes',
    title            String,
    text_length      UInt64                              COMMENT 'characters of visible text',
    link_count       UInt32,
    links            Array(String)                       COMMENT 'the first ones, absolute' CODEC(ZSTD(1)),
    canonical        String,
    language         LowCardinality(String),
    parsed           String                              COMMENT 'the parser''s fields, JSON' CODEC(ZSTD(1)),
    headers          Map(LowCardinality(String), String) COMMENT 'of the answer, without cookies' CODEC(ZSTD(1)),
    metadata         String                              COMMENT 'of the job, JSON, untouched' CODEC(ZSTD(1)),
    parser           LowCardinality(String),
    lane             LowCardinality(String),
    attempts         Map(LowCardinality(String), UInt32) COMMENT 'failed tries by class of error',
    hop              UInt32,
    challenges       UInt32                              COMMENT 'met on the way to this page',
    solve_cost       Float64                             COMMENT 'US dollars, all solves of the job',
    proxy_id         LowCardinality(String),
    fetched_at       DateTime64(3, 'UTC'),
    elapsed_ms       UInt32                              COMMENT 'of the last request',
    accepted_at      DateTime64(3, 'UTC')                COMMENT 'when the broker took the job',
    record_topic     LowCardinality(String),
    record_partition UInt32,
    record_offset    UInt64,
    recorded_at      DateTime64(3, 'UTC')                COMMENT 'when the broker took this record',
    trace_id         String
)
ENGINE = {replicated}ReplacingMergeTree(version)
ORDER BY (run, id)
SETTINGS non_replicated_deduplication_window = 1000;

CREATE TABLE IF NOT EXISTS dead_letters_log {on_cluster}
(
    run              LowCardinality(String),
    id               String                              COMMENT 'of the job',
    version          UInt128                             COMMENT 'the highest counts: the last in log order',
    url              String                              COMMENT 'without credentials; empty if there was none',
    final_url        String,
    site             LowCardinality(String),
    reason           LowCardinality(String),
    error_class      LowCardinality(String),
    message          String,
    service          LowCardinality(String)              COMMENT 'that gave the job up',
    last_status      UInt16                              COMMENT '0: no answer',
    lane             LowCardinality(String),
    attempts         Map(LowCardinality(String), UInt32) COMMENT 'failed tries by class of error',
    hop              UInt32,
    solve_cost       Float64                             COMMENT 'US dollars, all solves of the job',
    body_hash        String                              COMMENT 'of a body that was kept, as for a parse error',
    original         String                              COMMENT 'redacted and cut; the topic has it whole' CODEC(ZSTD(1)),
    original_length  UInt64                              COMMENT 'bytes, before anything was cut',
    original_hash    String                              COMMENT 'BLAKE2b-128, hex, before anything was cut',
    minimal          Bool                                COMMENT 'the full row could not be written',
    accepted_at      DateTime64(3, 'UTC')                COMMENT 'when the broker took the job',
    dead_at          DateTime64(3, 'UTC'),
    origin_topic     LowCardinality(String),
    origin_partition UInt32,
    origin_offset    UInt64,
    record_topic     LowCardinality(String),
    record_partition UInt32,
    record_offset    UInt64,
    recorded_at      DateTime64(3, 'UTC')                COMMENT 'when the broker took this record',
    trace_id         String
)
ENGINE = {replicated}ReplacingMergeTree(version)
ORDER BY (run, id)
SETTINGS non_replicated_deduplication_window = 1000;

CREATE TABLE IF NOT EXISTS solves_log {on_cluster}
(
    request_id       String,
    version          UInt128                             COMMENT 'the highest counts: solved, paid, last',
    run              LowCardinality(String),
    job_id           String,
    site             LowCardinality(String),
    kind             LowCardinality(String),
    status           LowCardinality(String),
    provider         LowCardinality(String),
    task_id          String,
    cost             Float64                             COMMENT 'US dollars',
    polls            UInt32,
    error_code       LowCardinality(String),
    requested_at     DateTime64(3, 'UTC'),
    created_at       Nullable(DateTime64(3, 'UTC'))      COMMENT 'of the task at the provider',
    answered_at      DateTime64(3, 'UTC'),
    record_topic     LowCardinality(String),
    record_partition UInt32,
    record_offset    UInt64,
    recorded_at      DateTime64(3, 'UTC')                COMMENT 'when the broker took this record',
    trace_id         String
)
ENGINE = {replicated}ReplacingMergeTree(version)
ORDER BY request_id
SETTINGS non_replicated_deduplication_window = 1000;

-- One small row a job, which outlives the rows that it judges: a page that has expired still beats a dead letter.
CREATE TABLE IF NOT EXISTS outcomes {on_cluster}
(
    run         LowCardinality(String),
    id          String,
    version     UInt128                 COMMENT 'the highest counts: a page beats a dead letter',
    outcome     LowCardinality(String)  COMMENT 'page or dead_letter',
    site        LowCardinality(String),
    status      UInt16                  COMMENT 'last HTTP status; 0: no answer',
    reason      LowCardinality(String)  COMMENT 'of a dead letter',
    accepted_at DateTime64(3, 'UTC'),
    recorded_at DateTime64(3, 'UTC')
)
ENGINE = {replicated}ReplacingMergeTree(version)
ORDER BY (run, id)
SETTINGS non_replicated_deduplication_window = 1000;
