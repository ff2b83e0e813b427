-- Bodies are merged less often: ADR 0024.
--
-- A merge reads and compresses them anew, which costs ClickHouse more than the insert did. The base says how
-- much larger than its largest part a merge of fresh parts must be: twelve times, not five. As parts grow old,
-- or become more than 10 in a partition, ClickHouse lowers it again, so they stay few.

ALTER TABLE bodies {on_cluster} MODIFY SETTING merge_selector_base = 12;
