#!/usr/bin/env bash
# wait.sh host:port -- command
target=$1; shift; shift
until (echo > "/dev/tcp/${target%:*}/${target#*:}") 2>/dev/null; do sleep 1; done
exec "$@"
