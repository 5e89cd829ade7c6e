#!/bin/sh
# Runs roles.sql with the passwords in the files of a folder: roles.sh [FOLDER]. In the Postgres image it is called once,
# when the cluster is made. psql takes its connection from PGHOST, PGUSER and so on.
set -eu
secrets=${1:-/run/secrets}
here=$(dirname "$(readlink -f "$0")")
[ -e "$here/roles.sql" ] || here=/deploy

{
    for name in owner worker api auditor retention; do
        printf '\\set %s_password `cat "%s/%s_password"`\n' "$name" "$secrets" "$name"
    done
    printf '\\i %s/roles.sql\n' "$here"
} | psql -X -v ON_ERROR_STOP=1 -U "${POSTGRES_USER:-${PGUSER:-postgres}}" -d "${POSTGRES_DB:-${PGDATABASE:-runproof}}"
