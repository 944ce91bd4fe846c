#!/bin/sh
# `serve` makes the node first if its home folder is empty, from AEO_NAME, AEO_COUNTRY, AEO_ADDRESS and
# AEO_ADMINISTRATION. Keys and the first token are made there and leave the volume by no way of ours.
set -eu
: "${AEO_HOME:=/var/lib/aeo}"
export AEO_HOME

# PostgreSQL's library reads a file of passwords only if nobody else may; a secret is mounted as it is.
if [ -n "${PGPASSWORD_FILE:-}" ]; then
    (umask 077 && sed 's/[\\:]/\\&/g; s/^/*:*:*:*:/' "$PGPASSWORD_FILE" > "${PGPASSFILE:?}")
fi

if [ "${1:-serve}" = serve ] && [ ! -e "$AEO_HOME/settings.toml" ]; then
    aeo init --name "${AEO_NAME:?}" --country "${AEO_COUNTRY:?}" --address "${AEO_ADDRESS:?}" \
        --administration "${AEO_ADMINISTRATION:-}" --host 0.0.0.0 --port 8000
fi
exec aeo "$@"
