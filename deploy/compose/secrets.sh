#!/bin/sh
# Makes what the services keep from each other: each in a volume that only those who need it mount. What is there
# already stays. Root without a network, in a container that ends.
set -eu
umask 077
service=10001 # the user of deploy/Dockerfile
server=999    # the user of PostgreSQL and Redis

random() {
  od -An -N "$1" -tx1 /dev/urandom | tr -d ' \n'
}

# once FILE OWNER: what comes in becomes the file, whole or not at all, unless there is one.
once() {
  [ -s "$1" ] || { cat >"$1.new" && chown "$2:$2" "$1.new" && mv "$1.new" "$1"; }
}

cd /run/spawner
for password in superuser owner application; do
  random 24 | once "postgres/$password" "$server"
done
url=postgresql+asyncpg
printf '%s://spawner_owner:%s@/spawner?host=/run/postgresql' "$url" "$(cat postgres/owner)" | once owner/database_owner_url "$service"
printf '%s://spawner:%s@/spawner?host=/run/postgresql' "$url" "$(cat postgres/application)" | once service/database_url "$service"
random 48 | once service/secret_key "$service"
chown "$service:$service" owner service
chown "$server:$server" postgres postgres-socket redis-socket
chmod 700 owner service postgres
chmod 755 postgres-socket redis-socket
sync
