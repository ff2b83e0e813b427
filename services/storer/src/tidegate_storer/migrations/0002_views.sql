-- The public views: exactly one outcome per (run, id), whatever was written twice, late or out of order.
--
-- `pages` beats everything, so it needs nobody's leave. `dead_letters` leaves out the jobs that have a page,
-- by the pages themselves and by `outcomes`, which remembers them when they have expired. So the one insert
-- into `pages_log` moves a job from one view to the other, and no crash between two inserts can show a job in
-- both or in neither. `jobs` is collapsed from the same rows and can not disagree.
--
-- The inner sets are bounded by the number of dead letters, never by that of pages.

CREATE VIEW IF NOT EXISTS pages {on_cluster} AS
SELECT * EXCEPT (version)
FROM pages_log FINAL
SETTINGS do_not_merge_across_partitions_select_final = 0;

CREATE VIEW IF NOT EXISTS dead_letters {on_cluster} AS
SELECT * EXCEPT (version)
FROM dead_letters_log FINAL
WHERE (run, id) NOT IN (
    SELECT run, id FROM pages_log WHERE (run, id) IN (SELECT run, id FROM dead_letters_log)
    UNION ALL
    SELECT run, id FROM outcomes
    WHERE outcome = 'page' AND (run, id) IN (SELECT run, id FROM dead_letters_log)
)
SETTINGS do_not_merge_across_partitions_select_final = 0;

CREATE VIEW IF NOT EXISTS jobs {on_cluster} AS
SELECT
    run,
    id,
    if(max(version) >= toUInt128('170141183460469231731687303715884105728'), 'page', 'dead_letter') AS outcome,
    argMax(site, version) AS site,
    argMax(status, version) AS status,
    argMax(reason, version) AS reason,
    argMax(accepted_at, version) AS accepted_at,
    argMax(recorded_at, version) AS recorded_at
FROM
(
    SELECT run, id, version, site, status, reason, accepted_at, recorded_at FROM outcomes
    UNION ALL
    SELECT run, id, version, site, status, '' AS reason, accepted_at, recorded_at FROM pages_log
    UNION ALL
    SELECT run, id, version, site, last_status AS status, reason, accepted_at, recorded_at FROM dead_letters_log
)
GROUP BY run, id;

CREATE VIEW IF NOT EXISTS solves {on_cluster} AS
SELECT * EXCEPT (version)
FROM solves_log FINAL
SETTINGS do_not_merge_across_partitions_select_final = 0;

-- One row a page, with its body. The pages are the side that is held in memory, not the bodies.
CREATE VIEW IF NOT EXISTS pages_with_bodies {on_cluster} AS
SELECT page.*, content.body
FROM (SELECT body_hash AS hash, body FROM bodies) AS content
ANY RIGHT JOIN pages AS page ON content.hash = page.body_hash;

-- Counted from the collapsed jobs: a rollup that adds up inserts would count what was written twice.
CREATE VIEW IF NOT EXISTS jobs_per_minute {on_cluster} AS
SELECT
    toStartOfMinute(recorded_at) AS minute,
    run,
    site,
    countIf(outcome = 'page') AS pages,
    countIf(outcome = 'dead_letter') AS dead_letters
FROM jobs
GROUP BY minute, run, site;
