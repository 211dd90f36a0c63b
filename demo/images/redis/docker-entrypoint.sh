#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Reachable from the other containers whatever arguments the user gives, as the
# official image is: its server is compiled so, Debian's needs to be told.
set -e

case ${1:-} in
    -* | *.conf) set -- redis-server "$@" ;;
esac
if [ "$1" = redis-server ]; then
    shift
    # a configuration file comes first, so that it can say otherwise later on
    case ${1:-} in
        *.conf) file=$1 && shift && set -- "$file" --bind 0.0.0.0 --protected-mode no "$@" ;;
        *) set -- --bind 0.0.0.0 --protected-mode no "$@" ;;
    esac
    set -- redis-server "$@"
    if [ "$(id -u)" = 0 ]; then
        find . \! -user redis -exec chown redis '{}' +
        exec setpriv --reuid=redis --regid=redis --init-groups "$@"
    fi
fi
exec "$@"
