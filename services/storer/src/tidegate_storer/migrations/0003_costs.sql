-- What solves cost, by page, site, run and provider.
--
-- Sums are of whole millionths of a dollar and come out as decimals: floats add up to almost the right sum.
-- `in_doubt` is the part of a cost that nobody can be sure was charged (delivery.md M3). The budget's ledger
-- decides what may be spent; these views explain what was.

ALTER TABLE solves_log {on_cluster}
    ADD COLUMN IF NOT EXISTS in_doubt Bool DEFAULT error_code = 'in_doubt'
    COMMENT 'nobody knows whether the cost was charged' AFTER cost;

CREATE OR REPLACE VIEW solves {on_cluster} AS
SELECT * EXCEPT (version)
FROM solves_log FINAL
SETTINGS do_not_merge_across_partitions_select_final = 0;

-- One row a job that asked for a solve; `pages` has the sum of a page, too, in `solve_cost`.
CREATE VIEW IF NOT EXISTS cost_per_page {on_cluster} AS
SELECT
    run,
    job_id AS id,
    any(site) AS site,
    count() AS requests,
    countIf(status = 'solved') AS solved,
    toDecimal128(sum(toInt64(round(cost * 1000000))), 6) / 1000000 AS cost_usd,
    toDecimal128(sumIf(toInt64(round(cost * 1000000)), in_doubt), 6) / 1000000 AS in_doubt_usd
FROM solves
GROUP BY run, job_id;

CREATE VIEW IF NOT EXISTS cost_per_site {on_cluster} AS
SELECT
    site,
    count() AS requests,
    countIf(status = 'solved') AS solved,
    toDecimal128(sum(toInt64(round(cost * 1000000))), 6) / 1000000 AS cost_usd,
    toDecimal128(sumIf(toInt64(round(cost * 1000000)), in_doubt), 6) / 1000000 AS in_doubt_usd,
    if(solved = 0, NULL, cost_usd / solved) AS usd_per_solved
FROM solves
GROUP BY site;

CREATE VIEW IF NOT EXISTS cost_per_run {on_cluster} AS
SELECT
    run,
    requests,
    solved,
    cost_usd,
    in_doubt_usd,
    pages,
    dead_letters,
    if(pages = 0, NULL, cost_usd / pages) AS usd_per_page
FROM
(
    SELECT
        run,
        count() AS requests,
        countIf(status = 'solved') AS solved,
        toDecimal128(sum(toInt64(round(cost * 1000000))), 6) / 1000000 AS cost_usd,
        toDecimal128(sumIf(toInt64(round(cost * 1000000)), in_doubt), 6) / 1000000 AS in_doubt_usd
    FROM solves
    GROUP BY run
) AS spent
LEFT JOIN
(
    SELECT run, countIf(outcome = 'page') AS pages, countIf(outcome = 'dead_letter') AS dead_letters
    FROM jobs
    GROUP BY run
) AS outcomes USING (run);

-- Seconds are those of solved tasks, from their creation at the provider to the answer.
CREATE VIEW IF NOT EXISTS cost_per_provider {on_cluster} AS
SELECT
    provider,
    kind,
    countIf(task_id != '') AS tasks,
    countIf(status = 'solved') AS solved,
    toDecimal128(sum(toInt64(round(cost * 1000000))), 6) / 1000000 AS cost_usd,
    toDecimal128(sumIf(toInt64(round(cost * 1000000)), in_doubt), 6) / 1000000 AS in_doubt_usd,
    if(solved = 0, NULL, cost_usd / solved) AS usd_per_solved,
    quantileIf(0.5)(dateDiff('millisecond', created_at, answered_at) / 1000, status = 'solved') AS median_s,
    quantileIf(0.95)(dateDiff('millisecond', created_at, answered_at) / 1000, status = 'solved') AS p95_s
FROM solves
WHERE provider != ''
GROUP BY provider, kind;
