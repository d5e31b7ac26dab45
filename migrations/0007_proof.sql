-- +goose Up

-- The Merkle tree over the log, and what was signed of it. Derived from the log, and owned by proof; a backup should hold it.

-- The tree's hashes in tiles of 256 (C2SP tlog-tiles): tile n of a level holds the hashes 256·n … of it, 32 bytes each. The last
-- tile of a level is not full.
CREATE TABLE log_tiles (
    level  smallint NOT NULL CHECK (level BETWEEN 0 AND 7),
    n      bigint   NOT NULL CHECK (n >= 0),
    hashes bytea    NOT NULL CHECK (octet_length(hashes) BETWEEN 32 AND 8192 AND octet_length(hashes) % 32 = 0),
    PRIMARY KEY (level, n)
);
-- Hashes do not compress.
ALTER TABLE log_tiles ALTER COLUMN hashes SET STORAGE EXTERNAL;

-- How far the tree has got, and who may advance it: the signer that holds the row's lease, under the epoch that it took over with.
CREATE TABLE log_tree (
    singleton boolean     PRIMARY KEY DEFAULT true CHECK (singleton),
    size      bigint      NOT NULL DEFAULT 0,
    root      bytea       NOT NULL DEFAULT sha256(''),
    epoch     bigint      NOT NULL DEFAULT 0,
    holder    uuid,
    until     timestamptz NOT NULL DEFAULT '-infinity'
);
INSERT INTO log_tree DEFAULT VALUES;

-- Every checkpoint that was signed (C2SP tlog-checkpoint), by the size of the tree.
CREATE TABLE log_checkpoints (
    size      bigint      PRIMARY KEY,
    signed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    note      text        NOT NULL
);

-- There is a row while a log is being imported: nothing else may work on it until that has come to its end.
CREATE TABLE unfinished_import (
    singleton boolean     PRIMARY KEY DEFAULT true CHECK (singleton),
    begun_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- +goose Down
DROP TABLE unfinished_import;
DROP TABLE log_checkpoints;
DROP TABLE log_tree;
DROP TABLE log_tiles;
