#!/bin/sh
# Writes the database's password to the driver's password file, then runs the command.
# The driver rejects a password file that other users can read, and a mounted secret keeps the host file's mode. On the
# command line or in the environment the password would be visible to anyone who can inspect the container.
set -eu
umask 077
printf '*:*:*:*:%s\n' "$(sed 's/[\\:]/\\&/g' "$DB_PASSWORD_FILE")" >"$PGPASSFILE"
exec "$@"
