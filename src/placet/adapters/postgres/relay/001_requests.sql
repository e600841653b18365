-- The relay's requests and answers.  The role that runs this owns the tables; the relay needs no more than
-- docs/how-to-postgresql.md grants.

-- One row.  Whoever writes locks it first, until the end of the transaction: so numbers are given out in the
-- order in which they become visible, limits are judged by one writer at a time, and nobody waits in a circle.
CREATE TABLE placet_relay.store (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    id text NOT NULL,
    change bigint NOT NULL,           -- counts the groups of writes; a reader that knows it has missed nothing
    last_request bigint NOT NULL,
    last_answer bigint NOT NULL,
    requests bigint NOT NULL,
    answers bigint NOT NULL,
    kept_bytes bigint NOT NULL
);

CREATE TABLE placet_relay.requests (
    seq bigint PRIMARY KEY,
    id text COLLATE "C" NOT NULL UNIQUE,
    caller text COLLATE "C" NOT NULL,
    withdraw_hash text NOT NULL,
    seal text NOT NULL,               -- digest over id, withdraw_hash, times and container
    submitted_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    withdrawn_at bigint,
    size bigint NOT NULL,
    container bytea NOT NULL
);
-- Not compressed: what comes is base64 of what is often compressed, and each write would pay for trying.
ALTER TABLE placet_relay.requests ALTER COLUMN container SET STORAGE EXTERNAL;
CREATE INDEX requests_that_may_be_open ON placet_relay.requests (expires_at) WHERE withdrawn_at IS NULL;
CREATE INDEX open_requests_by_caller ON placet_relay.requests (caller, expires_at) WHERE withdrawn_at IS NULL;
CREATE INDEX requests_by_closing ON placet_relay.requests (LEAST(expires_at, withdrawn_at));

CREATE TABLE placet_relay.answers (
    seq bigint PRIMARY KEY,
    request_seq bigint NOT NULL REFERENCES placet_relay.requests (seq) ON DELETE CASCADE,
    digest text COLLATE "C" NOT NULL, -- of the container
    received_at bigint NOT NULL,
    caller text COLLATE "C" NOT NULL,
    signer text COLLATE "C" NOT NULL,
    size bigint NOT NULL,
    container bytea NOT NULL,
    UNIQUE (request_seq, digest)
);
ALTER TABLE placet_relay.answers ALTER COLUMN container SET STORAGE EXTERNAL;

-- What each caller has here, so that a quota costs one row to judge.
CREATE TABLE placet_relay.usage (
    caller text COLLATE "C" PRIMARY KEY,
    requests bigint NOT NULL,
    answers bigint NOT NULL,
    kept_bytes bigint NOT NULL,
    day bigint NOT NULL,
    requests_that_day bigint NOT NULL
);

-- Work that one relay does for all: whoever gets the row does it, the others go on.
CREATE TABLE placet_relay.chores (name text PRIMARY KEY);
INSERT INTO placet_relay.chores VALUES ('delete closed requests');

INSERT INTO placet_relay.store (id, change, last_request, last_answer, requests, answers, kept_bytes)
VALUES (left(replace(gen_random_uuid()::text, '-', ''), 16), 0, 0, 0, 0, 0, 0);
