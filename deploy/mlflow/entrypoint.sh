#!/bin/sh
# Puts the database's password where its driver looks for it, and starts what it is told to.
# The driver reads no file that others may read, and a mounted secret has owner and mode of the file on the host;
# on a command line or in the environment of a container everybody would see it who sees those.
set -eu
umask 077
printf '*:*:*:*:%s\n' "$(sed 's/[\\:]/\\&/g' "$DB_PASSWORD_FILE")" >"$PGPASSFILE"
exec "$@"
