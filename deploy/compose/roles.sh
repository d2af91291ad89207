#!/bin/sh
# Makes the two roles and the database where they are missing (docs/adr/0014), and sets the roles' passwords to what the
# volume of secrets holds. May be repeated. The passwords travel through a file's name, so that no list of processes
# shows them.
set -eu
export PGHOST=/run/postgresql PGUSER=postgres PGPASSWORD="$(cat /run/secrets/superuser)"
psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 postgres <<'SQL'
\set owner `cat /run/secrets/owner`
\set application `cat /run/secrets/application`
SELECT format('CREATE ROLE %I LOGIN', name) FROM unnest(ARRAY['spawner_owner', 'spawner']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
ALTER ROLE spawner_owner PASSWORD :'owner';
ALTER ROLE spawner PASSWORD :'application';
SELECT 'CREATE DATABASE spawner OWNER spawner_owner'
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'spawner') \gexec
SQL
