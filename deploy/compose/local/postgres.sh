#!/bin/sh
# Like the entry point of the registry's image, as far as compose.yaml asks for it: initdb once, then the server.
set -eu
data=/var/lib/postgresql/data
if [ ! -e "$data/PG_VERSION" ]; then
  # shellcheck disable=SC2086 # several options
  initdb --pgdata "$data" --username postgres --pwfile "$POSTGRES_PASSWORD_FILE" ${POSTGRES_INITDB_ARGS:-} >/dev/null
fi
exec postgres -D "$data" "$@"
