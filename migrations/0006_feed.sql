-- +goose Up

-- What subscribers of the feed have been given. Not derived from the log, and owned by events; a backup must hold it.

-- This deployment, as the events that leave it name their source. A copy that is to be another one needs an id of its own.
CREATE TABLE deployment (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    id        uuid    NOT NULL DEFAULT gen_random_uuid()
);
INSERT INTO deployment DEFAULT VALUES;

-- One consumer group: every event of its types through position has been handled, or is parked. Whoever owns the group writes
-- here under the epoch that it took over with, and nobody under an older one.
CREATE TABLE subscriptions (
    name           text        PRIMARY KEY,
    types          text[]      NOT NULL DEFAULT '{}', -- none: all
    position       bigint      NOT NULL CHECK (position >= 0),
    epoch          bigint      NOT NULL DEFAULT 0,
    owner          text        NOT NULL DEFAULT '',   -- '': nobody
    seen_at        timestamptz,                       -- when the owner last said that it lives
    moved_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    attempts       integer     NOT NULL DEFAULT 0,    -- failed ones at the event that is next,
    strikes        integer     NOT NULL DEFAULT 0,    -- and those of them that count against the event
    failing_since  timestamptz,
    retry_at       timestamptz,                       -- infinity: paused until a person says so
    error          text        NOT NULL DEFAULT '',
    disabled_at    timestamptz,
    disabled_for   text        NOT NULL DEFAULT ''    -- the reason
);

-- A stream of which a group holds back what begins at position, because that event could not be handled.
CREATE TABLE parked (
    subscription text        NOT NULL REFERENCES subscriptions ON DELETE CASCADE,
    stream       text        NOT NULL,
    position     bigint      NOT NULL,
    attempts     integer     NOT NULL,
    parked_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    error        text        NOT NULL,
    unknown      boolean     NOT NULL,                -- a newer program may know what this one does not
    request      text        NOT NULL DEFAULT '' CHECK (request IN ('', 'retry', 'skip')), -- of a person, to the owner
    PRIMARY KEY (subscription, stream)
);

-- History that is given to a group once more, beside what happens now.
CREATE TABLE replays (
    id           uuid        PRIMARY KEY,
    subscription text        NOT NULL REFERENCES subscriptions ON DELETE CASCADE,
    types        text[]      NOT NULL DEFAULT '{}',   -- none: all of the group's
    after        bigint      NOT NULL,
    through      bigint      NOT NULL,
    position     bigint      NOT NULL,                -- through which it has got
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    requested_by text        NOT NULL,
    ended_at     timestamptz,
    error        text        NOT NULL DEFAULT ''      -- with which it ended early
);
CREATE INDEX replays_subscription ON replays (subscription, requested_at);

-- +goose Down
DROP TABLE replays;
DROP TABLE parked;
DROP TABLE subscriptions;
DROP TABLE deployment;
