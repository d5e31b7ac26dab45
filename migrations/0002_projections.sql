-- +goose Up

-- Images of the log. A row is the fold of exactly one stream and carries that stream's version; what an event means is
-- said once, in Go (projections). The migration is the place of the shapes only.

CREATE TABLE operator_oauth_tokens (
    forge_type        text        PRIMARY KEY,
    kind              text        NOT NULL,
    base_url          text        NOT NULL,
    account_id        text        NOT NULL,
    account_login     text        NOT NULL,
    access_token      bytea       NOT NULL, -- sealed
    refresh_token     bytea,                -- sealed
    token_fingerprint bytea       NOT NULL, -- keyed hash of the access token
    data_key          uuid        NOT NULL,
    scopes            text[],               -- null where the forge does not say
    expires_at        timestamptz,          -- null for a token that does not expire
    issued_at         bigint      NOT NULL, -- position of the event that holds the token
    generation        bigint      NOT NULL, -- stream version of that event
    created_at        timestamptz NOT NULL,
    updated_at        timestamptz NOT NULL,
    version           bigint      NOT NULL
) WITH (toast_tuple_target = 8160, fillfactor = 50); -- rows in one piece, and room to update them where they are

ALTER TABLE operator_oauth_tokens ALTER access_token SET STORAGE EXTERNAL, ALTER refresh_token SET STORAGE EXTERNAL;

-- Tokens that must no longer be used and wait for their forge to hear of it.
CREATE TABLE token_revocations (
    data_key     uuid        PRIMARY KEY,
    forge_type   text        NOT NULL,
    base_url     text        NOT NULL,
    account_id   text        NOT NULL,
    issued_at    bigint      NOT NULL, -- position of the event that holds the token
    reason       text        NOT NULL,
    requested_at timestamptz NOT NULL,
    version      bigint      NOT NULL
);

CREATE INDEX token_revocations_forge_type ON token_revocations (forge_type);

CREATE TABLE active_forge_type (
    singleton  boolean     PRIMARY KEY DEFAULT true CHECK (singleton),
    forge_type text        NOT NULL,
    since      timestamptz NOT NULL,
    version    bigint      NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE operator (
    singleton  boolean     PRIMARY KEY DEFAULT true CHECK (singleton),
    claimed_at timestamptz,
    accounts   json        NOT NULL, -- who may sign in, as the fold keeps it
    version    bigint      NOT NULL
);

CREATE TABLE operator_sessions (
    session_id    uuid        PRIMARY KEY,
    secret_hash   bytea       NOT NULL UNIQUE, -- keyed hash of the cookie's secret
    forge_type    text        NOT NULL,
    base_url      text        NOT NULL,
    account_id    text        NOT NULL,
    account_login text        NOT NULL,
    started_at    timestamptz NOT NULL,
    extended_at   timestamptz NOT NULL,
    idle_until    timestamptz NOT NULL,
    expires_at    timestamptz NOT NULL,
    version       bigint      NOT NULL
);

-- A table begins with version 1 of its fold, which an empty log leaves empty.
INSERT INTO projections (name, version) VALUES
    ('operator_oauth_tokens', 1),
    ('token_revocations', 1),
    ('active_forge_type', 1),
    ('operator', 1),
    ('operator_sessions', 1);

-- +goose Down
DROP TABLE operator_sessions;
DROP TABLE operator;
DROP TABLE active_forge_type;
DROP TABLE token_revocations;
DROP TABLE operator_oauth_tokens;
