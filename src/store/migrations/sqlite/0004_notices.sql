-- Version 4: what sinks were told of each alert, and what they are still owed. An absent part of a key is ''.

CREATE TABLE alerts (
    name         TEXT    NOT NULL,
    organization TEXT    NOT NULL,
    token        TEXT    NOT NULL,
    permission   TEXT    NOT NULL,
    target       TEXT    NOT NULL,
    episode      INTEGER NOT NULL,
    firing       INTEGER NOT NULL,
    since        INTEGER NOT NULL,
    fired_at     INTEGER NOT NULL,
    resolved_at  INTEGER,
    spoken_at    INTEGER NOT NULL,
    sinks        TEXT    NOT NULL,
    severity     TEXT    NOT NULL,
    token_owner  TEXT    NOT NULL,
    summary      TEXT    NOT NULL,
    description  TEXT    NOT NULL,
    evidence     TEXT    NOT NULL,
    PRIMARY KEY (name, organization, token, permission, target)
) STRICT, WITHOUT ROWID;

CREATE TABLE outbox (
    number       INTEGER PRIMARY KEY,
    sink         TEXT    NOT NULL,
    id           TEXT    NOT NULL,
    tidings      TEXT    NOT NULL,
    since        INTEGER NOT NULL,
    at           INTEGER NOT NULL,
    name         TEXT    NOT NULL,
    organization TEXT    NOT NULL,
    token        TEXT    NOT NULL,
    permission   TEXT    NOT NULL,
    target       TEXT    NOT NULL,
    severity     TEXT    NOT NULL,
    token_owner  TEXT    NOT NULL,
    summary      TEXT    NOT NULL,
    description  TEXT    NOT NULL,
    evidence     TEXT    NOT NULL
) STRICT;

PRAGMA user_version = 4;
