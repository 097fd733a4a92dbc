-- Version 2: what the latest answer to each check rests on, for people who ask why.

CREATE TABLE answers (
    organization TEXT    NOT NULL,
    token        TEXT    NOT NULL,
    permission   TEXT    NOT NULL,
    target       TEXT    NOT NULL,
    at           INTEGER NOT NULL,
    body         TEXT    NOT NULL,
    PRIMARY KEY (organization, token, permission, target)
) STRICT, WITHOUT ROWID;

PRAGMA user_version = 2;
