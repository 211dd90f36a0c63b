# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which worker a command line makes, and which cannot be spoken to alone."""

from __future__ import annotations

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.celery.command_line import (
    Consumer,
    Node,
    consumer_of,
    fetches_tasks,
    is_ready_by,
    node_of,
)

HOST = "0d1f2a3b4c5d"


@pytest.mark.parametrize(
    ("command", "node"),
    [
        (
            "/usr/bin/python3 /usr/local/bin/celery -A shop worker --loglevel info",
            Node("/usr/bin/python3", "shop", f"celery@{HOST}", tells=True),
        ),
        ("celery -A shop.celery worker -c 2", Node("python3", "shop.celery", f"celery@{HOST}")),
        ("celery --app=shop worker -n mail@%h", Node("python3", "shop", f"mail@{HOST}")),
        ("celery -Ashop worker --hostname=%n", Node("python3", "shop", f"celery@{HOST}")),
        ("celery -A shop worker -nlow.%h", Node("python3", "shop", f"celery@low.{HOST}")),
        ("celery worker -A shop -l info", Node("python3", "shop", f"celery@{HOST}", tells=True)),
        ("celery -A shop worker --loglevel=WARNING", Node("python3", "shop", f"celery@{HOST}")),
        ("/venv/bin/python -m celery -A shop worker", Node("/venv/bin/python", "shop", f"celery@{HOST}")),
        (f"celery -A shop worker -n w1@{HOST}", Node("python3", "shop", f"w1@{HOST}")),
        ("celery -A shop -b redis://other/1 worker", Node("python3", "shop", f"celery@{HOST}", "redis://other/1")),
        ("celery -A shop worker -n w1@server", None),
        ("celery -A shop worker -n w1", None),
        ("celery -A shop worker -n w1@$HOSTNAME", None),
        ("celery -A shop worker -n w%i@%h", None),
        ("celery worker", None),
        ("celery -A shop beat", None),
        ("gunicorn shop.wsgi", None),
    ],
)
def test_a_worker_is_known_by_its_command(command: str, node: Node | None) -> None:
    assert node_of(command.split(), HOST, {}) == node


def test_the_app_may_stand_in_the_environment() -> None:
    assert node_of(["celery", "worker"], HOST, {"CELERY_APP": "shop"}) == Node("python3", "shop", f"celery@{HOST}")


@pytest.mark.parametrize(
    ("command", "consumer"),
    [
        ("celery -A shop worker --loglevel info", Consumer("python3", "shop")),
        (
            "/venv/bin/python -m celery -A shop worker -Q mail,slow -X slow -I extra.tasks -n w1",
            Consumer("/venv/bin/python", "shop", "", ("mail", "slow"), False, ("slow",), ("extra.tasks",)),
        ),
        (
            "celery --app shop -b redis://other worker --queues=mail",
            Consumer("python3", "shop", "redis://other", ("mail",), False),
        ),
        ("celery worker --beat", Consumer("python3", "shop.default")),
        ("celery -A $APP worker", None),
        ("celery -A shop beat", None),
    ],
)
def test_what_a_worker_fetches_is_known_by_its_command(command: str, consumer: Consumer | None) -> None:
    assert consumer_of(command.split(), {"CELERY_APP": "shop.default"}) == consumer


def test_a_scheduler_that_is_a_worker_too_fetches() -> None:
    assert fetches_tasks("worker", ["/start-worker.sh"])
    assert fetches_tasks("scheduler", ["celery", "-A", "shop", "worker", "-B"])
    assert not fetches_tasks("scheduler", ["celery", "-A", "shop", "beat"])
    assert not fetches_tasks("web", ["gunicorn", "shop.wsgi"])


@pytest.mark.parametrize(
    ("line", "ready"),
    [
        ("2026-11-22T07:34:19.913964559Z [2026-11-22 07:34:19,913: INFO/MainProcess] celery@0d1f2a3b4c5d ready.", True),
        ("2026-11-22T07:34:19.000000001Z celery@0d1f2a3b4c5d ready.", True),
        # Of a life before, of somebody else, and what only quotes it.
        ("2026-11-22T07:34:18.913964559Z celery@0d1f2a3b4c5d ready.", False),
        ("2026-11-22T07:34:19.913964559Z celery@0d1f2a3b4c5e ready.", False),
        ("2026-11-22T07:34:19.913964559Z task got 'celery@0d1f2a3b4c5d ready.'", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("started", ["2026-11-22T07:34:19Z", "2026-11-22T07:34:18.98Z"])
def test_a_worker_that_logged_that_it_is_ready_is_ready(line: str, ready: bool, started: str) -> None:
    node = Node("python3", "shop", f"celery@{HOST}", tells=True)
    assert is_ready_by(node, f"2026-11-22T07:34:19.1Z starting\n{line}\n", started) is ready
