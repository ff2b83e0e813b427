-- Bodies are merged less often: ADR 0024.
--
-- A merge reads and compresses them anew, which costs ClickHouse more than the insert did. The base says how
-- much larger than its largest part a merge must be: from 12 parts of one size on, not from 5. As parts become
-- more than 10 in a partition ClickHouse lowers it again, to 2 at 50, so they stay few.

ALTER TABLE bodies {on_cluster} MODIFY SETTING merge_selector_base = 12;
