#!/bin/sh
# the pipeline puts this file into the image as /opt/ledgerline/run.sh
set -e
cd /opt/ledgerline

case "$1" in
  web)
    cp -r build/assets/. assets/
    exec uwsgi --socket :3031 --module ledgerline.wsgi --master --die-on-term
    ;;
  worker)
    shift
    # a new process after every hour keeps the memory small
    while true; do
      timeout --signal=TERM 3600 rq worker --url "$RQ_REDIS_URL" "$@" || true
    done
    ;;
  cron)
    crontab etc/crontab
    cron -f -L 4
    ;;
  upgrade)
    flask --app ledgerline db upgrade
    ;;
esac
