#!/bin/sh
set -e
printf '[databases]\n* = host=%s port=%s\n[pgbouncer]\nlisten_addr=0.0.0.0\nlisten_port=6432\npool_mode=transaction\nauth_type=any\n' "${UPSTREAM%:*}" "${UPSTREAM#*:}" > /tmp/pgbouncer.ini
exec pgbouncer -u nobody /tmp/pgbouncer.ini
