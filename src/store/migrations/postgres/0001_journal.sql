-- The journal, version 1: what SQLite has in its version 4. Times are milliseconds since 1970-01-01T00:00:00Z, but those
-- of leases, which only the database's own clock reads. Text is ordered by its bytes, as everywhere else.

-- Marks the database as ours, so that that of another program is never touched.
CREATE TABLE scopewatch (
    one     bigint NOT NULL PRIMARY KEY CHECK (one = 1),
    version bigint NOT NULL
);

INSERT INTO scopewatch (one, version) VALUES (1, 1);

-- Who may do what, until when. An epoch names one holding of a resource and never comes back.
CREATE TABLE leases (
    resource   text        NOT NULL PRIMARY KEY,
    epoch      bigint      NOT NULL,
    holder     text        NOT NULL,
    expires_at timestamptz NOT NULL
);

-- Questions that the leader lets others send, and who they are. They are over within seconds; nothing rests on them.
CREATE TABLE errands (
    epoch       bigint           NOT NULL,
    number      bigint           NOT NULL,
    likeness    text COLLATE "C" NOT NULL,
    fingerprint text COLLATE "C",
    request     text COLLATE "C" NOT NULL,
    offered_at  timestamptz      NOT NULL,
    helper      text COLLATE "C",
    answer      text COLLATE "C",
    PRIMARY KEY (epoch, number)
);

CREATE TABLE helpers (
    name     text COLLATE "C" NOT NULL PRIMARY KEY,
    likeness text COLLATE "C" NOT NULL,
    room     bigint           NOT NULL,
    seen_at  timestamptz      NOT NULL
);

CREATE TABLE canaries (
    id          bigint           NOT NULL PRIMARY KEY,
    namespace   text COLLATE "C" NOT NULL,
    name        text COLLATE "C" NOT NULL,
    kind        text COLLATE "C" NOT NULL,
    group_id    text COLLATE "C",
    target      text COLLATE "C" NOT NULL,
    token       text COLLATE "C" NOT NULL,
    owner       text COLLATE "C",
    planned_at  bigint           NOT NULL,
    given_up_at bigint,
    state       text COLLATE "C" NOT NULL,
    repo_id     text COLLATE "C",
    looks       bigint           NOT NULL,
    next_at     bigint,
    note        text COLLATE "C" NOT NULL,
    epoch       bigint           NOT NULL DEFAULT 0,
    UNIQUE (namespace, name)
);

CREATE INDEX canaries_owed ON canaries (id)
    WHERE next_at IS NOT NULL OR state NOT IN ('gone', 'refused');

CREATE TABLE attempts (
    canary  bigint           NOT NULL REFERENCES canaries (id),
    seq     bigint           NOT NULL,
    at      bigint           NOT NULL,
    signer  text COLLATE "C" NOT NULL,
    outcome text COLLATE "C" NOT NULL,
    PRIMARY KEY (canary, seq)
);

CREATE TABLE sightings (
    canary bigint NOT NULL REFERENCES canaries (id),
    seq    bigint NOT NULL,
    at     bigint NOT NULL,
    PRIMARY KEY (canary, seq)
);

CREATE TABLE transitions (
    canary     bigint           NOT NULL REFERENCES canaries (id),
    seq        bigint           NOT NULL,
    at         bigint           NOT NULL,
    from_state text COLLATE "C",
    to_state   text COLLATE "C" NOT NULL,
    event      text COLLATE "C" NOT NULL,
    PRIMARY KEY (canary, seq)
);

-- `rowid`: the order in which rows came, as SQLite has it by itself.
CREATE TABLE creations (
    rowid bigint           GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner text COLLATE "C" NOT NULL,
    at    bigint           NOT NULL
);

CREATE INDEX creations_at ON creations (at);

CREATE TABLE checks (
    organization  text COLLATE "C" NOT NULL,
    token         text COLLATE "C" NOT NULL,
    permission    text COLLATE "C" NOT NULL,
    target        text COLLATE "C" NOT NULL,
    access        text COLLATE "C" NOT NULL,
    reason        text COLLATE "C",
    observed_at   bigint           NOT NULL,
    allowed       boolean,
    conclusive_at bigint,
    bad_streak    bigint           NOT NULL,
    good_streak   bigint           NOT NULL,
    firing_since  bigint,
    firing        text COLLATE "C",
    PRIMARY KEY (organization, token, permission, target)
);

CREATE TABLE answers (
    organization text COLLATE "C" NOT NULL,
    token        text COLLATE "C" NOT NULL,
    permission   text COLLATE "C" NOT NULL,
    target       text COLLATE "C" NOT NULL,
    at           bigint           NOT NULL,
    body         text COLLATE "C" NOT NULL,
    PRIMARY KEY (organization, token, permission, target)
);

CREATE TABLE findings (
    rowid        bigint           GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind         text COLLATE "C" NOT NULL,
    organization text COLLATE "C" NOT NULL,
    token        text COLLATE "C",
    permission   text COLLATE "C",
    target       text COLLATE "C",
    severity     text COLLATE "C" NOT NULL,
    since        bigint           NOT NULL,
    last_seen    bigint           NOT NULL,
    resolved_at  bigint,
    detail       text COLLATE "C" NOT NULL
);

-- Nothing and the empty text are one here; no token, permission or target is empty.
CREATE UNIQUE INDEX findings_key
    ON findings (kind, organization, coalesce(token, ''), coalesce(permission, ''), coalesce(target, ''));

CREATE TABLE breakers (
    organization text COLLATE "C" NOT NULL PRIMARY KEY,
    at           bigint           NOT NULL,
    why          text COLLATE "C" NOT NULL
);

CREATE TABLE pauses (
    owner text COLLATE "C" NOT NULL PRIMARY KEY,
    until bigint           NOT NULL,
    why   text COLLATE "C" NOT NULL,
    at    bigint           NOT NULL DEFAULT 0
);

CREATE TABLE declared (
    token       text COLLATE "C" NOT NULL PRIMARY KEY,
    fingerprint text COLLATE "C" NOT NULL,
    at          bigint           NOT NULL,
    body        text COLLATE "C" NOT NULL
);

-- The last opening for writing of which the record tells.
CREATE TABLE fence (
    one   bigint NOT NULL PRIMARY KEY CHECK (one = 1),
    epoch bigint NOT NULL
);

INSERT INTO fence (one, epoch) VALUES (1, 0);

CREATE TABLE evidence (
    seq  bigint           NOT NULL PRIMARY KEY,
    at   bigint           NOT NULL,
    kind text COLLATE "C" NOT NULL,
    body text COLLATE "C" NOT NULL,
    hash text COLLATE "C" NOT NULL
);

-- What sinks were told of each alert, and what they are still owed. An absent part of a key is ''.
CREATE TABLE alerts (
    name         text COLLATE "C" NOT NULL,
    organization text COLLATE "C" NOT NULL,
    token        text COLLATE "C" NOT NULL,
    permission   text COLLATE "C" NOT NULL,
    target       text COLLATE "C" NOT NULL,
    episode      bigint           NOT NULL,
    firing       boolean          NOT NULL,
    since        bigint           NOT NULL,
    fired_at     bigint           NOT NULL,
    resolved_at  bigint,
    spoken_at    bigint           NOT NULL,
    sinks        text COLLATE "C" NOT NULL,
    severity     text COLLATE "C" NOT NULL,
    token_owner  text COLLATE "C" NOT NULL,
    summary      text COLLATE "C" NOT NULL,
    description  text COLLATE "C" NOT NULL,
    evidence     text COLLATE "C" NOT NULL,
    PRIMARY KEY (name, organization, token, permission, target)
);

CREATE TABLE outbox (
    number       bigint           NOT NULL PRIMARY KEY,
    sink         text COLLATE "C" NOT NULL,
    id           text COLLATE "C" NOT NULL,
    tidings      text COLLATE "C" NOT NULL,
    since        bigint           NOT NULL,
    at           bigint           NOT NULL,
    name         text COLLATE "C" NOT NULL,
    organization text COLLATE "C" NOT NULL,
    token        text COLLATE "C" NOT NULL,
    permission   text COLLATE "C" NOT NULL,
    target       text COLLATE "C" NOT NULL,
    severity     text COLLATE "C" NOT NULL,
    token_owner  text COLLATE "C" NOT NULL,
    summary      text COLLATE "C" NOT NULL,
    description  text COLLATE "C" NOT NULL,
    evidence     text COLLATE "C" NOT NULL
);

-- What happened stays as it was written, and canaries are never forgotten.
CREATE FUNCTION stays_as_written() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % stay as they were written', TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END
$$;

CREATE TRIGGER transitions_stay BEFORE UPDATE OR DELETE ON transitions
    FOR EACH ROW EXECUTE FUNCTION stays_as_written();
CREATE TRIGGER transitions_stay_all BEFORE TRUNCATE ON transitions
    FOR EACH STATEMENT EXECUTE FUNCTION stays_as_written();
CREATE TRIGGER evidence_stays BEFORE UPDATE OR DELETE ON evidence
    FOR EACH ROW EXECUTE FUNCTION stays_as_written();
CREATE TRIGGER evidence_stays_all BEFORE TRUNCATE ON evidence
    FOR EACH STATEMENT EXECUTE FUNCTION stays_as_written();
CREATE TRIGGER canaries_stay BEFORE DELETE ON canaries
    FOR EACH ROW EXECUTE FUNCTION stays_as_written();
CREATE TRIGGER canaries_stay_all BEFORE TRUNCATE ON canaries
    FOR EACH STATEMENT EXECUTE FUNCTION stays_as_written();
