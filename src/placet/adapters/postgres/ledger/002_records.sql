-- What a log is to hold of each use, stored by the commit that consumes it, until the log has it.

ALTER TABLE placet_ledger.uses
    ADD COLUMN record bytea,       -- NULL where the trust root names no log
    ADD COLUMN leaf_index bigint;  -- where the log holds it
CREATE INDEX uses_unlogged ON placet_ledger.uses (use_id) WHERE record IS NOT NULL AND leaf_index IS NULL;
