#!/usr/bin/env bash
# Runs once, when the volume of Postgres is empty: two roles and the database.
#
#   forgeauth_owner  owns the database and its tables; only `forgeauth migrate` connects as it
#   forgeauth        what `forgeauth serve` connects as; migrate grants it what it needs: on events SELECT and INSERT
#
# psql reads the passwords itself, so that they stand in no argument list.
set -euo pipefail

: "${SECRETS:=/run/secrets}"
export SECRETS

psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
\set owner_password `cat "$SECRETS/owner_password"`
\set runtime_password `cat "$SECRETS/runtime_password"`

CREATE ROLE forgeauth_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE forgeauth LOGIN PASSWORD :'runtime_password' CONNECTION LIMIT 50;

CREATE DATABASE forgeauth OWNER forgeauth_owner;
REVOKE ALL ON DATABASE forgeauth FROM PUBLIC;
GRANT CONNECT ON DATABASE forgeauth TO forgeauth;
SQL
