#!/bin/bash
# proofs and pictures are slow, the rest shares one node
NODES="proofs pictures rest"
WHERE="--pidfile=/run/celery/%n.pid --logfile=/var/log/celery/%n%I.log"

finish() {
  celery multi stopwait $NODES $WHERE
  kill "$TAIL"
}
trap finish TERM INT

celery multi start $NODES -A pressmark -l INFO $WHERE \
  -Q:proofs proofs -Q:pictures pictures -Q default \
  -c:proofs 2 -c:pictures 4 -c 3

tail -n +1 -F /var/log/celery/proofs.log /var/log/celery/pictures.log /var/log/celery/rest.log &
TAIL=$!
wait "$TAIL"
