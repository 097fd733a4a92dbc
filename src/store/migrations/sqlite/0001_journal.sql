-- The journal, version 1. Times are milliseconds since 1970-01-01T00:00:00Z.

CREATE TABLE canaries (
    id         INTEGER PRIMARY KEY,
    namespace  TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    kind       TEXT    NOT NULL,
    group_id   TEXT,
    target     TEXT    NOT NULL,
    token      TEXT    NOT NULL,
    owner      TEXT,
    planned_at INTEGER NOT NULL,
    given_up_at INTEGER,
    state      TEXT    NOT NULL,
    repo_id    TEXT,
    looks      INTEGER NOT NULL,
    next_at    INTEGER,
    note       TEXT    NOT NULL,
    UNIQUE (namespace, name)
) STRICT;

CREATE INDEX canaries_owed ON canaries (id)
    WHERE next_at IS NOT NULL OR state NOT IN ('gone', 'refused');

CREATE TABLE attempts (
    canary  INTEGER NOT NULL REFERENCES canaries (id),
    seq     INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    signer  TEXT    NOT NULL,
    outcome TEXT    NOT NULL,
    PRIMARY KEY (canary, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE sightings (
    canary INTEGER NOT NULL REFERENCES canaries (id),
    seq    INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    PRIMARY KEY (canary, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE transitions (
    canary     INTEGER NOT NULL REFERENCES canaries (id),
    seq        INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    from_state TEXT,
    to_state   TEXT    NOT NULL,
    event      TEXT    NOT NULL,
    PRIMARY KEY (canary, seq)
) STRICT, WITHOUT ROWID;

-- What happened stays as it was written.
CREATE TRIGGER transitions_stay_as_written BEFORE UPDATE ON transitions
BEGIN SELECT RAISE(ABORT, 'transitions are append-only'); END;
CREATE TRIGGER transitions_stay BEFORE DELETE ON transitions
BEGIN SELECT RAISE(ABORT, 'transitions are append-only'); END;
CREATE TRIGGER canaries_stay BEFORE DELETE ON canaries
BEGIN SELECT RAISE(ABORT, 'canaries are never forgotten'); END;

CREATE TABLE creations (
    owner TEXT    NOT NULL,
    at    INTEGER NOT NULL
) STRICT;

CREATE INDEX creations_at ON creations (at);

CREATE TABLE checks (
    organization  TEXT    NOT NULL,
    token         TEXT    NOT NULL,
    permission    TEXT    NOT NULL,
    target        TEXT    NOT NULL,
    access        TEXT    NOT NULL,
    reason        TEXT,
    observed_at   INTEGER NOT NULL,
    allowed       INTEGER CHECK (allowed IN (0, 1)),
    conclusive_at INTEGER,
    bad_streak    INTEGER NOT NULL,
    good_streak   INTEGER NOT NULL,
    firing_since  INTEGER,
    firing        TEXT,
    PRIMARY KEY (organization, token, permission, target)
) STRICT, WITHOUT ROWID;

CREATE TABLE findings (
    kind         TEXT    NOT NULL,
    organization TEXT    NOT NULL,
    token        TEXT,
    permission   TEXT,
    target       TEXT,
    severity     TEXT    NOT NULL,
    since        INTEGER NOT NULL,
    last_seen    INTEGER NOT NULL,
    resolved_at  INTEGER,
    detail       TEXT    NOT NULL
) STRICT;

-- Nothing and the empty text are one here; no token, permission or target is empty.
CREATE UNIQUE INDEX findings_key
    ON findings (kind, organization, ifnull(token, ''), ifnull(permission, ''), ifnull(target, ''));

CREATE TABLE breakers (
    organization TEXT    NOT NULL PRIMARY KEY,
    at           INTEGER NOT NULL,
    why          TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE pauses (
    owner TEXT    NOT NULL PRIMARY KEY,
    until INTEGER NOT NULL,
    why   TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE declared (
    token       TEXT    NOT NULL PRIMARY KEY,
    fingerprint TEXT    NOT NULL,
    at          INTEGER NOT NULL,
    body        TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- 'SCWP': this file is ours.
PRAGMA application_id = 1396922192;
PRAGMA user_version = 1;
