# SPDX-License-Identifier: GPL-3.0-or-later
"""What a start script runs, for what it is given: branches, loops, functions and variables as people write them."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.start_script import commands_of

CASE = """#!/bin/bash
set -e
role="${1:-web}"
case "$role" in
  web|api)
    python manage.py migrate   # at every start
    exec gunicorn shop.wsgi -b "0.0.0.0:${PORT:-8000}"
    ;;
  work*) shift; exec celery -A shop worker "$@" ;;
  beat) exec celery -A shop beat;;
  *) exec "$@" ;;
esac
"""
BY_VARIABLE = """#!/bin/sh
if [ "$ROLE" = "beat" ] || [ "$ROLE" == clock ]; then
    exec celery beat
elif [ -n "$ROLE" ] && test "$ROLE" != web
then
    exec celery worker
else
    exec gunicorn shop.wsgi
fi
echo "never met"
"""
FUNCTIONS = """
start_web() { exec gunicorn "$1"; }
function start_worker {
  celery worker &
  wait $!
}
if [ "$#" -eq 0 ]; then start_web shop.wsgi; else start_worker; fi
"""
ENTRY = """#!/bin/sh
until pg_isready -h db; do
  sleep 1
done
cat <<EOF > /etc/motd
exec celery beat
EOF
if [ "${1#-}" != "$1" ] || [ "${1%.conf}" != "$1" ]; then
  set -- gunicorn "$@"
fi
for folder in a b; do mkdir -p "$folder"; done
exec "$@"
"""


def runs(script: str, *arguments: str, **environment: str) -> list[str]:
    """The commands of a script that do something."""
    found = [" ".join(one.words) for one in commands_of(script, arguments, environment)]
    return [one for one in found if one.split()[0] not in ("set", "mkdir", "sleep", "wait", "echo", "cat")]


@pytest.mark.parametrize(
    ("script", "arguments", "environment", "expected"),
    [
        (CASE, [], {}, ["python manage.py migrate", "exec gunicorn shop.wsgi -b 0.0.0.0:8000"]),
        (CASE, ["api"], {"PORT": "80"}, ["python manage.py migrate", "exec gunicorn shop.wsgi -b 0.0.0.0:80"]),
        (CASE, ["worker", "-Q", "mail"], {}, ["exec celery -A shop worker -Q mail"]),
        (CASE, ["beat"], {}, ["exec celery -A shop beat"]),
        (CASE, ["python", "x.py"], {}, ["exec python x.py"]),
        (BY_VARIABLE, [], {"ROLE": "clock"}, ["exec celery beat"]),
        (BY_VARIABLE, [], {"ROLE": "mail"}, ["exec celery worker"]),
        (BY_VARIABLE, [], {"ROLE": "web"}, ["exec gunicorn shop.wsgi"]),
        (BY_VARIABLE, [], {}, ["exec gunicorn shop.wsgi"]),
        (FUNCTIONS, [], {}, ["exec gunicorn shop.wsgi"]),
        (FUNCTIONS, ["x"], {}, ["celery worker"]),
        (ENTRY, ["-w", "4"], {}, ["exec gunicorn -w 4"]),
        (ENTRY, ["celery", "worker"], {}, ["exec celery worker"]),
        (
            'if nc -z db 5432; then exec "$@"; else exec celery beat; fi',
            ["gunicorn"],
            {},
            ["exec gunicorn", "exec celery beat"],
        ),
        ("( exec gunicorn x )", [], {}, ["exec gunicorn x"]),
        ("exec 2>&1\nexec gunicorn x > /dev/null", [], {}, ["exec", "exec gunicorn x"]),
        ("", [], {}, []),
        ("echo 'it", [], {}, []),
    ],
)
def test_what_runs(script: str, arguments: list[str], environment: dict[str, str], expected: list[str]) -> None:
    assert runs(script, *arguments, **environment) == expected


def test_what_is_run_again_and_again_is_told_from_what_is_run_for_each() -> None:
    script = "while true; do python sweep.py; sleep 60; done"
    assert [one.looped for one in commands_of(script, [], {})] == [True, True]
    assert not any(one.looped for one in commands_of("for t in a b; do python make.py $t; done", [], {}))


@given(st.text(alphabet="abcdo$\"'{}()[];|&<>#!=-\n\\ 1@", max_size=80) | st.text(max_size=60))
@example("$¹")  # a digit (str.isdigit), and no number (int)
def test_no_script_is_too_odd(text: str) -> None:
    assert len(list(commands_of(text, ["a", "b"], {"X": "y"}))) <= len(text) + 2


@given(
    st.lists(
        st.sampled_from(
            [
                "if",
                "then",
                "else",
                "fi",
                "case",
                "in",
                "esac",
                "while",
                "do",
                "done",
                ";",
                ";;",
                ")",
                "a",
                "{",
                "}",
                "a()",
                "$1",
            ]
        ),
        max_size=25,
    )
)
def test_no_order_of_its_words_is_either(words: list[str]) -> None:
    list(commands_of(" ".join(words), ["x"], {}))
