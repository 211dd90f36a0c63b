# SPDX-License-Identifier: GPL-3.0-or-later
"""The module on real containers: what runs is looked at, what is ordered goes through stdin, what happens is shown."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.calls import django_migrate
from tests.bed.django_stack import NAME, PASSWORD, Stack, fresh, stack
from tests.bed.shop import LABEL, ROOT, run

#: Fixtures of the bed that plans are asked in.
__all__ = ["fresh", "stack"]

IMAGE = "evenkeel-bed-migrate"
ALLOW = ["shop.0002_two"]
SLOW = """
from django.db import migrations
def slow(apps, schema_editor):
    schema_editor.execute("CREATE TABLE IF NOT EXISTS ran (n int)")
    schema_editor.execute("INSERT INTO ran VALUES (1)")
    schema_editor.execute("SELECT pg_sleep(6)")
evenkeel_phase = "before"
class Migration(migrations.Migration):
    dependencies = [("shop", "0002_two")]
    operations = [migrations.RunPython(slow)]
"""


@pytest.fixture(scope="module")
def releases() -> Iterator[dict[str, str]]:
    """Images of two releases; the code is the folder's."""
    made = {}
    for release in ("r0", "r1"):
        text = f"FROM evenkeel/python:3.13\nLABEL org.opencontainers.image.revision={release} {LABEL}={NAME}\n"
        made[release] = f"{IMAGE}:{release}"
        run(["docker", "build", "-q", "-t", made[release], "-"], input=text)
    yield made
    run(["docker", "rmi", "-f", *made.values()])


@contextmanager
def serving(image: str) -> Iterator[None]:
    """A container of the service that runs some code."""
    labels = {"com.docker.compose.project": NAME, "com.docker.compose.service": "api", LABEL: NAME}
    words = [word for key, value in labels.items() for word in ("--label", f"{key}={value}")]
    container = run(["docker", "run", "-d", *words, "--entrypoint", "sleep", image, "900"]).strip()
    try:
        yield
    finally:
        run(["docker", "rm", "-f", container])


def parameters(on: Stack, state: str, **more: Any) -> dict[str, Any]:
    limits = {"lock_timeout": 1.0, "retries": 1, "wait": 30.0}
    return {**on.parameters(state=state, state_dir=str(on.folder / "state")), **limits, **more}


def call(on: Stack, state: str, **more: Any) -> dict[str, Any]:
    return django_migrate.call(parameters(on, state, **more), False)


def by_ansible(on: Stack, state: str, **more: Any) -> subprocess.Popen[str]:
    """The module as a user runs it."""
    ansible = [str(Path(sys.executable).parent / "ansible"), "localhost", "-m", "evenkeel.deploy.django_migrate"]
    variables = ["-e", f"ansible_python_interpreter={sys.executable}"]
    return subprocess.Popen(
        [*ansible, "-a", json.dumps(parameters(on, state, **more)), *variables], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
    )  # fmt: skip


def sql(on: Stack, statement: str) -> str:
    return on.compose("exec", "-T", "db", "psql", "-U", "postgres", "shop", "-Atc", statement).strip()


COLUMNS = (
    "SELECT string_agg(attname, ' ' ORDER BY attname) FROM pg_attribute "
    "WHERE attrelid = 'shop_item'::regclass AND attnum > 0 AND NOT attisdropped"
)


def test_expand_beside_code_that_runs_and_contract_when_it_is_gone(fresh: Stack, releases: dict[str, str]) -> None:
    fresh.write(image=releases["r1"])
    with serving(releases["r0"]):
        assert django_migrate.call(parameters(fresh, "expanded"), True)["changed"] and sql(fresh, COLUMNS) == "id note"
        process = by_ansible(fresh, "expanded")
        printed, _nothing = process.communicate()
        assert process.returncode == 0, printed
        assert "[localhost] shop.0002_two: begins" in printed and "1 of 2 operations later" in printed
        assert PASSWORD not in printed
        assert sql(fresh, COLUMNS) == "id note stock"
        assert not call(fresh, "expanded")["changed"]
        waits = call(fresh, "contracted", allow_data_loss=ALLOW)
        assert waits["failed"] and "runs r0, which was made before it" in waits["msg"]
    with serving(releases["r1"]):
        assert call(fresh, "planned")["open"][0]["waits_for"].startswith("it drops data")
        done = call(fresh, "contracted", allow_data_loss=ALLOW)
        assert done["changed"] and done["open"] == [], done["msg"]
        assert sql(fresh, COLUMNS) == "id stock"
        assert not call(fresh, "contracted", allow_data_loss=ALLOW)["changed"]
    assert fresh.leftovers() == []


def test_a_module_that_is_killed_leaves_a_migration_that_ends_by_itself(fresh: Stack, releases: dict[str, str]) -> None:
    fresh.write(image=releases["r1"])
    (fresh.folder / "app/shop/migrations/0003_slow.py").write_text(SLOW)
    code = (
        "import json, sys\nfrom ansible_collections.evenkeel.deploy.plugins.module_utils.calls import django_migrate\n"
        "django_migrate.call(json.loads(sys.argv[1]), False)\n"
    )
    try:
        with serving(releases["r1"]):
            process = subprocess.Popen(
                [sys.executable, "-c", code, json.dumps(parameters(fresh, "expanded"))],
                env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'collections'}"}, cwd=ROOT, start_new_session=True,
            )  # fmt: skip
            for _attempt in range(300):
                if "pg_sleep" in sql(
                    fresh, "SELECT query FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%sleep(6)'"
                ):
                    break
                time.sleep(0.1)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            # The same call waits for it, and finds that nothing is left to be done.
            again = call(fresh, "expanded")
            assert not again.get("failed"), again["msg"]
        assert sql(fresh, "SELECT count(*) FROM ran") == "1"
        assert sql(fresh, "SELECT name FROM django_migrations ORDER BY id DESC LIMIT 1") == "0003_slow"
        assert call(fresh, "expanded")["pending"] == 0
    finally:
        (fresh.folder / "app/shop/migrations/0003_slow.py").unlink()
        ids = run(["docker", "ps", "-aq", "--filter", f"label=evenkeel.migrate={NAME}"]).split()
        if ids:
            run(["docker", "rm", "-f", *ids])
