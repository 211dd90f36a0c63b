#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# ansible-test's sanity tests.
# Further arguments go to ansible-test: scripts/sanity.sh --test validate-modules
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
copy=$root/.cache/sanity/ansible_collections/evenkeel/deploy
cd "$root"
export PATH=$root/.venv/bin:$PATH

# ansible-test refuses linked folders and the tracked link, and everything in
# reach is its subject: it gets a copy of what is, or will be, tracked. The
# demo's shop and the corpus stay out: users' projects are no part of ours.
# tests/output stays between runs: its virtual environments live there.
mkdir -p "$copy"
list=$root/.cache/sanity/files
git ls-files -z --cached --others --exclude-standard | grep -zEv '^(collections|demo/shop|demo/overlays|tests/stacks/(corpus|unseen))/' |
    while IFS= read -r -d '' file; do [ -e "$file" ] && printf '%s\0' "$file"; done >"$list"
rsync --archive --from0 --files-from="$list" . "$copy/"
# rsync's --delete does not work with a list of files
(cd "$copy" && find . -path ./tests/output -prune -o \( -type f -o -type l \) -printf '%P\0') |
    sort -z | comm -z -23 - <(sort -z "$list") | (cd "$copy" && xargs -0 -r rm -f)
find "$copy" -mindepth 1 -type d -empty -not -path '*/tests/output/*' -delete

# ansible-test keeps its downloads under HOME, ours shall go with `make clean`.
# pip's own settings (a mirror, a certificate) stay in force.
home=$root/.cache/sanity/home
mkdir -p "$home/.ansible/test/cache"
[ ! -d "$HOME/.config" ] || ln -sfn "$HOME/.config" "$home/.config"

# At its first run it fetches a get-pip script. Where that is out of reach, the
# pip of the standard library stands in, in a process of its own: ensurepip
# leaves modules behind that the pip it has just replaced would trip over.
version=$(python -c 'import ansible_test._internal.python_requirements as r; print(r.__file__)' | xargs grep -Eom1 "pip='[0-9.]+'" | tr -dc '0-9.')
get_pip=$home/.ansible/test/cache/get_pip_${version//./_}.py
if [ ! -e "$get_pip" ]; then
    curl -fsS -m 10 -o "$get_pip" "https://ci-files.testing.ansible.com/ansible-test/get-pip-$version.py" 2>/dev/null ||
        cat >"$get_pip" <<'STAND_IN'
import subprocess
import sys

arguments = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
subprocess.check_call([sys.executable, "-m", "ensurepip"])
subprocess.check_call([sys.executable, "-m", "pip", "install", *arguments])
STAND_IN
fi

python_version=$(python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
cd "$copy"
# named, it does not go looking upwards and find that git ignores .cache
export ANSIBLE_TEST_CONTENT_ROOT=$copy HOME=$home
unset ANSIBLE_CONFIG
exec ansible-test sanity --color no --venv --python "$python_version" "$@" </dev/null
