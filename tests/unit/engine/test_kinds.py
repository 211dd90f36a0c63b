# SPDX-License-Identifier: GPL-3.0-or-later
"""What a service is: by what runs in it, by what it would run, by its image; and what is not understood."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.kinds import Evidence, judge

ENTRY = (
    '#!/bin/sh\ncase "$ROLE" in beat) exec celery -A x beat;; work) exec celery -A x worker;; *) exec gunicorn x;; esac'
)
CLOCK = "#!/bin/sh\ncelery -A x worker &\nexec celery -A x beat"


def started(entrypoint: list[str], script: str, **more: Any) -> Evidence:
    """An image that starts with a script."""
    return Evidence(image={"Entrypoint": entrypoint}, scripts={entrypoint[-1]: script}, **more)


@pytest.mark.parametrize(
    ("kind", "service", "evidence"),
    [
        ("scheduler", {"environment": {"ROLE": "beat"}}, started(["/entry"], ENTRY)),
        ("worker", {"environment": {"ROLE": "work"}}, started(["sh", "/entry"], ENTRY)),
        ("web", {}, started(["/entry"], ENTRY)),
        ("scheduler", {"command": ["./run.sh"]}, Evidence(scripts={"./run.sh": CLOCK})),
        ("scheduler", {"command": ["bash", "-c", "while true; do python manage.py sweep; sleep 9; done"]}, Evidence()),
        ("scheduler", {"command": ["bash", "-c", "while true; do python manage.py sweep; sleep 9; done"]},
         started(["/e.sh"], '#!/bin/sh\nexec "$@"', processes=(("bash", "-c", "while true…"), ("sleep", "9")))),
        ("web", {"image": "own/thing"}, Evidence(processes=(("/usr/bin/python3", "/usr/bin/gunicorn", "x"),))),
        ("web", {"image": "own/thing"}, Evidence(processes=(("gunicorn: master [x]",), ("gunicorn: worker [x]",)))),
        ("worker", {}, Evidence(processes=(("[celeryd: celery@h:MainProcess] -active- (worker -A x)",),))),
        ("scheduler", {}, Evidence(processes=(("[celeryd: celery@h:MainProcess] -active- (worker -A x -B)",),))),
        ("proxy", {}, Evidence(processes=(("nginx: master process nginx -g daemon off;",), ("nginx: worker process",)))),
        ("web", {}, Evidence(processes=(("supervisord",), ("nginx: master process nginx",), ("uwsgi", "--ini", "x")))),
        ("scheduler", {}, Evidence(processes=(("supervisord",), ("uwsgi", "--ini", "x"), ("crond", "-f")))),
        ("database", {"build": {"context": "."}}, Evidence(built_upon="postgis/postgis:16")),
        ("database", {"build": {"context": "."}}, Evidence(processes=(("postgres",), ("postgres: checkpointer",)))),
        ("proxy", {"build": {"context": "."}}, Evidence(built_upon="nginxinc/nginx-unprivileged:1")),
        ("proxy", {"image": "steveltn/https-portal:1"}, Evidence(processes=(("crond",), ("nginx: master process",)))),
        ("other", {"image": "tecnativa/docker-socket-proxy"}, Evidence(processes=(("haproxy", "-W"),))),
        ("other", {"command": ["python", "-m", "shop.things"]}, Evidence()),
        ("other", {"command": ["celery", "-A", "x", "flower"]}, Evidence()),
        ("worker", {"command": ["uv", "run", "--no-sync", "taskiq", "worker", "x:b"]}, Evidence()),
        ("scheduler", {"command": ["taskiq", "scheduler", "x:s"]}, Evidence()),
        ("worker", {"command": ["python", "manage.py", "run_huey", "--no-periodic"]}, Evidence()),
        ("worker", {"command": ["python", "-m", "shop.consumer"]}, Evidence()),
        ("scheduler", {"command": ["python", "manage.py", "start_scheduler"]}, Evidence()),
        ("worker", {"command": ["rq", "worker", "high"]}, Evidence()),
        ("web", {"command": ["fastapi", "run", "app/main.py"]}, Evidence()),
        ("web", {"command": ["npm", "run", "start"]}, Evidence()),
        ("job", {"image": "minio/mc", "entrypoint": ["sh", "-c", "until mc alias set s http://x; do sleep 1; done; mc mb s"]}, Evidence()),
        ("job", {"image": "mongo:7", "command": ["sh", "-c", "until mongosh --eval 1; do sleep 1; done; mongosh --eval 2"]}, Evidence()),
        ("database", {"image": "mongo:7", "command": ["--replSet", "rs0"]}, Evidence()),
        ("proxy", {"image": "traefik:v3", "command": ["--providers.docker=true"]}, Evidence()),
        ("scheduler", {"command": ["celery", "-A", "x", "worker", "-EB", "-l", "info"]}, Evidence()),
        ("worker", {"command": ["celery", "-A", "x", "worker", "-nBlue"]}, Evidence()),
        ("web", {"command": ["gunicorn", "x"]}, Evidence(image={"Entrypoint": ["/opt/nobody-knows"]})),
        ("web", {"command": ["sh", "-c", "python -m shop.wait && gunicorn x"]}, Evidence()),
        ("job", {"command": ["sh", "-c", "python manage.py wait_for_db && python manage.py migrate"]}, Evidence()),
        ("job", {"command": ["flask", "db", "upgrade"]}, Evidence()),
        ("job", {"command": ["python", "seed.py"], "profiles": ["tools"]}, Evidence()),
        ("other", {"command": ["python", "seed.py"]}, Evidence()),
        ("scheduler", {"command": ["python", "manage.py", "tick"]},
         Evidence(programs={"management/commands/tick.py": "while True:\n  f()\n  sleep(9)"})),
        ("worker", {"command": ["python", "-m", "shop.eat"]}, Evidence(programs={"shop/eat.py": "c.basic_consume('q')"})),
        ("other", {"build": {"context": "."}, "image": "x/postgres-tools"}, Evidence(built_upon="postgres", starts_itself=True)),
        ("job", {"image": "own/load", "restart": "no"}, Evidence(ended=0)),
        ("other", {"image": "own/load", "restart": "always"}, Evidence(ended=0)),
        ("other", {"image": "own/load"}, Evidence(ended=1)),
    ],
)  # fmt: skip
def test_kind(kind: str, service: dict[str, Any], evidence: Evidence) -> None:
    found = judge(service, evidence)
    assert found.kind == kind, found


def test_what_nothing_says_is_not_understood() -> None:
    assert not judge({"command": ["python", "-m", "shop.things"]}, Evidence()).understood
    assert judge({"command": ["gunicorn", "x"]}, Evidence()).because == "gunicorn"


@pytest.mark.parametrize(
    ("image", "led"),
    [
        ("nginx:1", True),
        ("openresty/openresty", True),
        ("jwilder/nginx-proxy", False),
        ("caddy:2", False),
        ("traefik", False),
    ],
)
def test_only_an_nginx_that_a_person_configures_can_be_led(image: str, led: bool) -> None:
    assert judge({"image": image}, Evidence()).is_nginx is led


def test_for_a_dashboard_nobody_waits() -> None:
    assert not judge({"image": "dpage/pgadmin4"}, Evidence()).is_waited_for
    assert not judge({"command": ["celery", "flower"]}, Evidence()).is_waited_for
    assert judge({"image": "edoburu/pgbouncer"}, Evidence()).is_waited_for
    assert judge({"command": ["python", "x.py"]}, Evidence()).is_waited_for
