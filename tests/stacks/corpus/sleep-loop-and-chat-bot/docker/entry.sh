#!/bin/sh
set -e
export GIT_SHA="$(cat REVISION 2>/dev/null || echo unknown)"
exec "$@"
