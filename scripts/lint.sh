#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Every linter speaks, also after an earlier one complained: one run shows all.
# shellcheck disable=SC2317  # functions are called through run()
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
export PATH=$PWD/.venv/bin:$PATH

status=0
run() {
    local began=$EPOCHREALTIME
    printf -- '--- %s\n' "$1"
    "$@" </dev/null || { status=1; printf -- '--- %s complains\n' "$1"; }
    printf -- '--- %s: %.1f s\n' "$1" "$(python3 -c "print($EPOCHREALTIME - $began)")"
}

# tracked or about to be, but never what is ignored
files() {
    git ls-files --cached --others --exclude-standard -- "$@" | while read -r file; do
        if [ -f "$file" ] && [ ! -L "$file" ]; then printf '%s\n' "$file"; fi
    done
}

ruff_check() { ruff check --quiet --output-format concise .; }
ruff_format() { ruff format --check . || { echo 'make format writes it so'; false; }; }
# the stacks of the corpus are written as other people write them
shell_scripts() {
    files ':!tests/stacks/corpus' ':!tests/stacks/unseen' | while read -r file; do
        case $(head -c 40 "$file" | tr -d '\0' | head -n1) in
            '#!'*bash* | '#!'*/sh*) printf '%s\0' "$file" ;;
        esac
    done | xargs -0 -r shellcheck
}

run ruff_check
run ruff_format
# nothing to type-check is an error to mypy
if [ -n "$(files 'plugins/module_utils/*.py')" ]; then run mypy; fi
run shell_scripts
run ansible-lint --profile production --offline -q
run antsibull-docs lint-collection-docs --plugin-docs .
exit "$status"
