# SPDX-License-Identifier: GPL-3.0-or-later
"""One container, several processes: the lists that honcho and supervisord start them from."""

from __future__ import annotations

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.kinds import Evidence, judge
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.process_list import (
    is_list,
    list_named_by,
    processes_of,
)

PROCFILE = "web: gunicorn shop.wsgi\nworker: celery -A shop worker\nbeat: celery -A shop beat\n"
SUPERVISOR = """[supervisord]
nodaemon=true
[program:web]
command = gunicorn shop.wsgi -b %(ENV_BIND)s
[program:beat]
autostart=false
command=celery -A shop beat
[eventlistener:x]
command=listen
"""


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["honcho", "start"], "./Procfile"),
        (["honcho", "-f", "deploy/Procfile.prod", "start"], "deploy/Procfile.prod"),
        (["/usr/bin/supervisord", "-n", "-c", "/etc/s.conf"], "/etc/s.conf"),
        (["supervisord", "-n"], "supervisord.conf"),
        (["gunicorn", "x"], ""),
    ],
)
def test_where_the_list_is(words: list[str], name: str) -> None:
    assert list_named_by(words) == name


def test_what_is_started() -> None:
    assert processes_of(["honcho", "start"], PROCFILE) == [line.split(": ")[1] for line in PROCFILE.splitlines()]
    assert processes_of(["honcho", "start", "worker"], PROCFILE) == ["celery -A shop worker"]
    assert processes_of(["honcho", "check"], PROCFILE) == []
    assert processes_of(["supervisord"], SUPERVISOR) == ["gunicorn shop.wsgi -b ${BIND}"]
    assert is_list(SUPERVISOR) and not is_list(PROCFILE)


@pytest.mark.parametrize(
    ("command", "name", "kind"),
    [
        (["honcho", "start"], "./Procfile", "scheduler"),
        (["honcho", "start", "web"], "./Procfile", "web"),
        (["honcho", "start", "worker"], "./Procfile", "worker"),
        (["supervisord", "-c", "/etc/s.conf"], "/etc/s.conf", "web"),
    ],
)
def test_the_container_is_the_most_careful_of_them(command: list[str], name: str, kind: str) -> None:
    scripts = {name: PROCFILE if "Procfile" in name else SUPERVISOR}
    assert judge({"command": command}, Evidence(scripts=scripts)).kind == kind
