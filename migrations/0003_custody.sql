-- +goose Up

-- Not derived from the log, each with one owner. A backup must hold them.

-- vault: one key for each token pair that can still be opened, itself sealed under OAUTH_ENCRYPTION_KEY.
CREATE TABLE data_keys (
    id         uuid        PRIMARY KEY,
    wrapped    bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- vault: a known text under OAUTH_ENCRYPTION_KEY, by which a wrong key is noticed at boot.
CREATE TABLE vault_check (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    sealed    bytea   NOT NULL
);

-- commands: the one-time code that lets the first account in (setup), or one more (recovery). One of each at most.
CREATE TABLE setup_code (
    purpose    text        PRIMARY KEY CHECK (purpose IN ('setup', 'recovery')),
    code_hash  bytea       NOT NULL,
    expires_at timestamptz NOT NULL
);

-- +goose Down
DROP TABLE setup_code;
DROP TABLE vault_check;
DROP TABLE data_keys;
