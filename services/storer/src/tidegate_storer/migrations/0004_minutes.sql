-- Per-minute figures, and the common questions about runs and sites.
--
-- They are views over the collapsed rows, not tables that inserts add to: a record that is delivered twice, a
-- batch that is written again, a page that displaces its job's dead letter would each be counted where they
-- came first and could never be taken back. So they cost a pass over what they cover; give them a run or a
-- span of time. Every minute is that of the broker's clock at which the row's record was taken.

CREATE VIEW IF NOT EXISTS pages_per_minute {on_cluster} AS
SELECT
    toStartOfMinute(recorded_at) AS minute,
    run,
    site,
    count() AS pages,
    countIf(challenges > 0) AS challenged,
    countIf(status >= 400) AS refused_pages,
    sum(length) AS bytes,
    quantile(0.5)(elapsed_ms) / 1000 AS median_s,
    quantile(0.95)(elapsed_ms) / 1000 AS p95_s
FROM pages
GROUP BY minute, run, site;

CREATE VIEW IF NOT EXISTS dead_letters_per_minute {on_cluster} AS
SELECT
    toStartOfMinute(recorded_at) AS minute,
    run,
    site,
    reason,
    count() AS dead_letters
FROM jobs
WHERE outcome = 'dead_letter'
GROUP BY minute, run, site, reason;

CREATE VIEW IF NOT EXISTS solves_per_minute {on_cluster} AS
SELECT
    toStartOfMinute(recorded_at) AS minute,
    run,
    provider,
    kind,
    count() AS requests,
    countIf(status = 'solved') AS solved,
    toDecimal128(sum(toInt64(round(cost * 1000000))), 6) / 1000000 AS cost_usd,
    quantileIf(0.5)(dateDiff('millisecond', created_at, answered_at) / 1000, status = 'solved') AS median_s,
    quantileIf(0.95)(dateDiff('millisecond', created_at, answered_at) / 1000, status = 'solved') AS p95_s
FROM solves
GROUP BY minute, run, provider, kind;

-- One row a run: how far it came, how fast, what it cost.
CREATE VIEW IF NOT EXISTS run_summary {on_cluster} AS
SELECT
    run,
    pages,
    dead_letters,
    dead_letters / (pages + dead_letters) AS dead_share,
    sites,
    first_accepted_at,
    last_recorded_at,
    dateDiff('second', first_accepted_at, last_recorded_at) AS seconds,
    if(seconds = 0, NULL, pages / seconds) AS pages_per_second,
    ifNull(solves, 0) AS solves,
    ifNull(cost_usd, toDecimal128(0, 6)) AS cost_usd
FROM
(
    SELECT
        run,
        countIf(outcome = 'page') AS pages,
        countIf(outcome = 'dead_letter') AS dead_letters,
        uniqExact(site) AS sites,
        min(accepted_at) AS first_accepted_at,
        max(recorded_at) AS last_recorded_at
    FROM jobs
    GROUP BY run
) AS outcomes
LEFT JOIN
(
    SELECT
        run,
        count() AS solves,
        toDecimal128(sum(toInt64(round(cost * 1000000))), 6) / 1000000 AS cost_usd
    FROM solves
    GROUP BY run
) AS spent USING (run);

-- One row a run and site. `challenge_share` is of the pages that came; what never came is in `dead_letters`.
-- A site without a page has no time and no bytes: NULL, not 0 (a join fills in zeros).
CREATE VIEW IF NOT EXISTS site_summary {on_cluster} AS
SELECT
    run,
    site,
    pages,
    dead_letters,
    dead_letters / (pages + dead_letters) AS dead_share,
    ifNull(challenged, 0) AS challenged_pages,
    if(pages = 0, NULL, challenged_pages / pages) AS challenge_share,
    if(fetched_pages = 0, NULL, length_sum) AS bytes,
    if(fetched_pages = 0, NULL, half_ms / 1000) AS median_s,
    if(fetched_pages = 0, NULL, most_ms / 1000) AS p95_s
FROM
(
    SELECT run, site, countIf(outcome = 'page') AS pages, countIf(outcome = 'dead_letter') AS dead_letters
    FROM jobs
    GROUP BY run, site
) AS outcomes
LEFT JOIN
(
    SELECT
        run,
        site,
        count() AS fetched_pages,
        countIf(challenges > 0) AS challenged,
        sum(length) AS length_sum,
        quantile(0.5)(elapsed_ms) AS half_ms,
        quantile(0.95)(elapsed_ms) AS most_ms
    FROM pages
    GROUP BY run, site
) AS fetched USING (run, site);
