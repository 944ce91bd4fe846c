#!/bin/sh
# Run once, when the data directory of the first primary has just been made: who may connect, and what a
# commit waits for. A standby copies all of it, and is the next primary under the same settings.
set -eu

psql --no-psqlrc -v ON_ERROR_STOP=1 -U postgres -d postgres <<'SQL'
\set replication `cat "$REPLICATION_PASSWORD_FILE"`
\set node `cat "$NODE_PASSWORD_FILE"`
CREATE ROLE replication REPLICATION LOGIN PASSWORD :'replication';
CREATE ROLE aeo LOGIN PASSWORD :'node';
CREATE DATABASE aeo OWNER aeo TEMPLATE template0 LOCALE 'C.UTF-8' ENCODING 'UTF8';
SQL

echo "host replication replication all scram-sha-256" >> "$PGDATA/pg_hba.conf"
cat >> "$PGDATA/postgresql.conf" <<'CONF'
wal_level = replica
wal_log_hints = on
wal_keep_size = '1GB'
synchronous_commit = on
synchronous_standby_names = 'ANY 1 (db1, db2)'
CONF
