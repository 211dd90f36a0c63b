#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Stands for npm, which no image of the beds has.
set -eu
test "$*" = "run build"
name=main.$(sha256sum src/main.js | cut -c 1-8).js
rm -rf dist
mkdir -p dist/static/js
cp src/main.js "dist/static/js/$name"
sed "s/main\.js/$name/" src/index.html > dist/index.html
