-- +goose Up

-- The log: every fact, once, in commit order. It is outbox and feed as well; nothing is written twice.
CREATE TABLE events (
    position       bigint      PRIMARY KEY CHECK (position > 0),
    event_id       uuid        NOT NULL UNIQUE,
    stream         text        NOT NULL,
    stream_version bigint      NOT NULL CHECK (stream_version > 0),
    type           text        NOT NULL,
    schema         smallint    NOT NULL,
    occurred_at    timestamptz NOT NULL,
    actor          text        NOT NULL,
    correlation_id uuid        NOT NULL,
    payload        json        NOT NULL, -- json keeps the bytes as written, which jsonb does not
    sealed         bytea,
    UNIQUE (stream, stream_version)
) WITH (toast_tuple_target = 8160); -- a row with a sealed pair of some 2 kB stays in one piece

-- Ciphertext does not compress; trying to would cost each append.
ALTER TABLE events ALTER sealed SET STORAGE EXTERNAL;

CREATE INDEX events_type_position ON events (type, position);

-- +goose StatementBegin
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on % refused: the log is append-only', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege',
              HINT = 'A fact that no longer holds is followed by another fact. It is never changed.';
END
$$;
-- +goose StatementEnd

CREATE TRIGGER events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
-- ALWAYS: session_replication_role must not switch it off.
ALTER TABLE events ENABLE ALWAYS TRIGGER events_append_only;

-- Which version of each fold wrote the tables. Asserted in every append.
CREATE TABLE projections (
    name    text    PRIMARY KEY,
    version integer NOT NULL,
    repairs bigint  NOT NULL DEFAULT 0 -- how often it was repaired; whoever remembers rows notices
);

-- +goose Down
DROP TABLE projections;
DROP TABLE events;
DROP FUNCTION refuse_change;
