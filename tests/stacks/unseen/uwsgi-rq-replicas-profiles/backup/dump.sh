#!/bin/sh
set -eu
day=$(date +%F)
mariadb-dump --single-transaction -h maria -u root -p"$MARIADB_ROOT_PASSWORD" "$MARIADB_DATABASE" | gzip > "/dumps/$day.sql.gz.part"
mv "/dumps/$day.sql.gz.part" "/dumps/$day.sql.gz"
tar -C / -czf "/dumps/$day-uploads.tgz" uploads
find /dumps -type f -mtime "+$KEEP_DAYS" -delete
