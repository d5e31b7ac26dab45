-- +goose Up

-- What a row says about refreshing its token, and whether only a sign-in helps. The defaults are those of a token that nobody has
-- tried to refresh; granted_at is set by the fold, which every table with rows is given anew.
ALTER TABLE operator_oauth_tokens
    ADD granted_at          timestamptz NOT NULL DEFAULT now(),
    ADD refresh_attempt     uuid        NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000', -- the one that is open
    ADD refresh_deadline    timestamptz,                    -- of the open attempt, by the database's clock
    ADD refresh_recovering  boolean     NOT NULL DEFAULT false,
    ADD refresh_failures    integer     NOT NULL DEFAULT 0, -- the rest is of the last failure
    ADD refresh_failed_at   timestamptz,
    ADD refresh_verdict     text        NOT NULL DEFAULT '',
    ADD refresh_code        text        NOT NULL DEFAULT '',
    ADD refresh_retry_at    timestamptz,
    ADD refresh_rejected_at timestamptz,                    -- the first time
    ADD needs_reauth_since  timestamptz,
    ADD needs_reauth_reason text        NOT NULL DEFAULT '';

-- A table without rows is what the new fold makes of any log without tokens. One with rows is repaired at boot.
UPDATE projections SET version = 2
WHERE name = 'operator_oauth_tokens' AND NOT EXISTS (SELECT FROM operator_oauth_tokens);

-- +goose Down
UPDATE projections SET version = 1 WHERE name = 'operator_oauth_tokens';
ALTER TABLE operator_oauth_tokens
    DROP granted_at,
    DROP refresh_attempt,
    DROP refresh_deadline,
    DROP refresh_recovering,
    DROP refresh_failures,
    DROP refresh_failed_at,
    DROP refresh_verdict,
    DROP refresh_code,
    DROP refresh_retry_at,
    DROP refresh_rejected_at,
    DROP needs_reauth_since,
    DROP needs_reauth_reason;
