#!/bin/bash
set -eu
mariadb-dump --single-transaction -h maria -u "$MARIADB_USER" -p"$MARIADB_PASSWORD" "$MARIADB_DATABASE" \
  | gzip > "/dumps/$(date +%F).sql.gz"
find /dumps -name '*.sql.gz' -mtime +21 -delete
