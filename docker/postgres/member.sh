#!/bin/sh
# One of the servers of a replicated store. With FOLLOWS, and nothing in its data directory, it begins as a
# copy of that server, which it follows from then on by its own name, SERVER. Then it runs what it is given.
set -eu

if [ -n "${FOLLOWS:-}" ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
    until PGPASSWORD=$(cat "$REPLICATION_PASSWORD_FILE") pg_basebackup --pgdata "$PGDATA" \
        --write-recovery-conf --checkpoint=fast --dbname "host=$FOLLOWS user=replication"
    do sleep 2; done
    # Whoever goes on alone says so there; its copy must not. The name is the server's, never the copying's: what
    # is still being copied would count as a standby that has what it confirms.
    sed -i '/^synchronous_standby_names/d; /^cluster_name/d' "$PGDATA/postgresql.auto.conf"
    echo "cluster_name = '$SERVER'" >> "$PGDATA/postgresql.auto.conf"
fi
exec "$@"
