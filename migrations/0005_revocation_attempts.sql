-- +goose Up

-- When it is whose turn to tell a forge of a revocation. What was requested before has not been attempted in the log's eyes,
-- and is due: that is what the newer fold says of it, too, so that there is nothing to repair.
ALTER TABLE token_revocations
    ADD attempts        integer     NOT NULL DEFAULT 0,
    ADD next_attempt_at timestamptz;
UPDATE token_revocations SET next_attempt_at = requested_at;
ALTER TABLE token_revocations
    ALTER attempts DROP DEFAULT,
    ALTER next_attempt_at SET NOT NULL;

UPDATE projections SET version = 2 WHERE name = 'token_revocations';

-- +goose Down
UPDATE projections SET version = 1 WHERE name = 'token_revocations';
ALTER TABLE token_revocations DROP attempts, DROP next_attempt_at;
