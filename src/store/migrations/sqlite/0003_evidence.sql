-- Version 3: who may write, and the record of what happened, each entry bound to all that came before it.

-- Counts the openings for writing. Whoever finds another number than its own has been replaced.
CREATE TABLE fence (
    one   INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    epoch INTEGER NOT NULL
) STRICT;

INSERT INTO fence (one, epoch) VALUES (1, 0);

ALTER TABLE canaries ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
ALTER TABLE pauses ADD COLUMN at INTEGER NOT NULL DEFAULT 0;

CREATE TABLE evidence (
    seq  INTEGER PRIMARY KEY,
    at   INTEGER NOT NULL,
    kind TEXT    NOT NULL,
    body TEXT    NOT NULL,
    hash TEXT    NOT NULL
) STRICT;

CREATE TRIGGER evidence_stays_as_written BEFORE UPDATE ON evidence
BEGIN SELECT RAISE(ABORT, 'the record is append-only'); END;
CREATE TRIGGER evidence_stays BEFORE DELETE ON evidence
BEGIN SELECT RAISE(ABORT, 'the record is append-only'); END;

PRAGMA user_version = 3;
