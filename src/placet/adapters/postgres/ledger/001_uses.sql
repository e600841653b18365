-- A gate's use ledger, shared by the gate's replicas (spec/15-use.md).  The role that runs this owns the tables;
-- the gate needs no more than docs/how-to-postgresql.md grants, and may not delete what was used.

-- One row.  Whoever judges a use locks it first, until the end of the transaction.
CREATE TABLE placet_ledger.judgement (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    held boolean NOT NULL DEFAULT true -- a role may lock a row only if it may update some column of it
);
INSERT INTO placet_ledger.judgement DEFAULT VALUES;

CREATE TABLE placet_ledger.birth (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ledger_id text NOT NULL UNIQUE,
    born_at bigint NOT NULL,
    place text NOT NULL               -- cluster, timeline, database and table where it was born
);

CREATE TABLE placet_ledger.uses (
    use_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    birth bigint NOT NULL REFERENCES placet_ledger.birth,
    payload_digest text COLLATE "C" NOT NULL,
    use_unit text COLLATE "C" NOT NULL,
    ordinal bigint NOT NULL,
    used_at bigint NOT NULL,
    event_id text COLLATE "C",
    exit_code bigint,
    finished_at bigint,
    summary text NOT NULL,
    UNIQUE (payload_digest, use_unit, ordinal)
);
CREATE INDEX uses_by_time ON placet_ledger.uses (birth, used_at);
CREATE INDEX uses_by_event ON placet_ledger.uses (event_id) WHERE event_id IS NOT NULL;
CREATE INDEX uses_unknown ON placet_ledger.uses (use_id) WHERE exit_code IS NULL;

CREATE TABLE placet_ledger.counters (
    keyid text COLLATE "C" NOT NULL,
    earliest bigint NOT NULL,
    latest bigint NOT NULL,
    counter bigint NOT NULL,
    PRIMARY KEY (keyid, earliest, latest, counter)
);
