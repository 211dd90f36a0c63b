# SPDX-License-Identifier: GPL-3.0-or-later
"""The module on a stack of its own: a plan, and a clear message for each reason why there is none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.calls.deploy_lock import call as lock
from ansible_collections.evenkeel.deploy.plugins.module_utils.calls.django_check import call as check
from tests.bed.django_stack import NAME, PASSWORD, Stack, fresh, stack
from tests.bed.shop import ROOT

#: Fixtures of the stack that is migrated.
__all__ = ["fresh", "stack"]


def test_a_plan_by_ansible_in_check_mode(fresh: Stack) -> None:
    arguments = json.dumps(fresh.parameters(state="planned"))
    ansible = [str(Path(sys.executable).parent / "ansible"), "localhost", "--check"]
    done = subprocess.run(
        [*ansible, "-m", "evenkeel.deploy.django_migrate", "-a", arguments, "-e", f"ansible_python_interpreter={sys.executable}"],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1", "ANSIBLE_STDOUT_CALLBACK": "json"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (task,) = [t for play in json.loads(done.stdout)["plays"] for t in play["tasks"]]
    result = task["hosts"]["localhost"]
    assert result["changed"] is False and result["refused"] == [] and result["pending"] == 1
    (migration,) = result["plan"]
    assert (migration["app"], migration["name"], migration["database"], migration["phase"]) == (
        "shop", "0002_two", "default", "before"
    )  # fmt: skip
    assert [(o["index"], o["phase"], o["action"]) for o in migration["operations"]] == [
        (0, "after", "defer"), (1, "before", "now")
    ]  # fmt: skip
    assert migration["operations"][0]["drops_data"] is True
    assert PASSWORD not in done.stdout and fresh.leftovers() == []


def test_the_same_question_has_the_same_answer_and_changes_nothing(fresh: Stack) -> None:
    first, second = fresh(), fresh()
    assert first["plan"] == second["plan"] and not first["changed"]
    assert fresh.leftovers() == []
    listed = fresh.compose(
        "exec", "-T", "db", "psql", "-U", "postgres", "shop", "-Atc", "SELECT name FROM django_migrations"
    )
    assert listed.split() == ["0001_initial"]


def test_the_checks_have_the_same_answer_from_one_start_of_django(fresh: Stack) -> None:
    asked = {"checks": [], "allow_data_loss": ["shop.0002_two"]}
    told = check(fresh.parameters(plan=True, **asked), False)
    planned = fresh(state="planned", **asked)
    assert planned["pending"] == 1
    assert told["planned"] == {k: v for k, v in planned.items() if k != "timeline"}
    assert check(fresh.parameters(**asked), False)["planned"] == {}
    # What there is no plan for is left to the one that says why.
    fresh.password = "wrong"
    fresh.write()
    told = check(fresh.parameters(plan=True, **asked), False)
    assert told["planned"] == {} and not told.get("failed")
    assert fresh.leftovers() == []


def test_wrong_credentials(fresh: Stack) -> None:
    fresh.password = "wrong"
    fresh.write()
    assert "the database refused the app" in fresh.refusal()


def test_a_database_that_is_down(fresh: Stack) -> None:
    fresh.compose("stop", "--timeout", "1", "db")
    try:
        said = fresh.refusal()
        assert "could not be asked" in said and "see that the database runs" in said
        # It is not started behind anyone's back.
        assert fresh.compose("ps", "-q", "--status", "running", "db") == ""
    finally:
        fresh.compose("up", "-d", "--wait", "db")
        fresh.compose(
            "run", "--rm", "-T", "--entrypoint", "python", "api", "manage.py", "migrate", "shop", "0001", "-v0"
        )


# What plans alone, and what plans and then waits for an order.
ASKED = [{"state": "planned"}, {"state": "expanded", "lock_timeout": 2.0, "retries": 1, "wait": 5.0}]


@pytest.mark.parametrize("asked", ASKED, ids=lambda a: a["state"])
def test_an_image_without_django_without_python_and_one_that_is_not_here(fresh: Stack, asked: dict[str, Any]) -> None:
    environment = {"DB_PASSWORD": PASSWORD}
    fresh.write(environment=environment)
    assert "has no Django" in fresh.refusal(**asked)
    fresh.write(image="evenkeel/redis:8")
    assert "has no python" in fresh.refusal(**asked)
    fresh.write(image="evenkeel/nowhere:1")
    assert "is not on this host" in fresh.refusal()
    assert fresh(check=True)["msg"] == "unknown until built"


def test_words_that_mean_nothing(fresh: Stack) -> None:
    assert "there is no service apj" in fresh.refusal(service="apj")
    assert "no src/manage.py in the image" in fresh.refusal(manage_py="src/manage.py")
    assert "there are default" in fresh.refusal(databases=["other"])
    assert "no phase that can be declared" in fresh.refusal(declared_phases={"shop.0002_two": "sometimes"})


def test_settings_that_do_not_load(fresh: Stack) -> None:
    settings = fresh.folder / "app/settings.py"
    settings.write_text("raise RuntimeError('postgres://shop:" + PASSWORD + "@db/shop is no address')")
    assert "is no address" in fresh.refusal()


def test_a_plan_that_is_refused_is_never_carried_out(fresh: Stack) -> None:
    assert "additive_only" in fresh.refusal(**ASKED[1], additive_only=True)
    listed = fresh.compose(
        "exec", "-T", "db", "psql", "-U", "postgres", "shop", "-Atc", "SELECT name FROM django_migrations"
    )
    assert listed.split() == ["0001_initial"]


@pytest.mark.parametrize("asked", ASKED, ids=lambda a: a["state"])
def test_one_that_takes_too_long_leaves_nothing_behind(fresh: Stack, asked: dict[str, Any]) -> None:
    settings = fresh.folder / "app/settings.py"
    settings.write_text("import time\ntime.sleep(60)\n")
    assert "took longer than 4 s" in fresh.refusal(**{**asked, "timeout": 4.0})


# The last one: it leaves a migration behind.
def test_what_an_earlier_version_has_migrated_is_noted_with_the_checks_of_an_update(
    fresh: Stack, tmp_path: Path
) -> None:
    def sql(text: str) -> str:
        return fresh.compose("exec", "-T", "db", "psql", "-U", "postgres", "shop", "-Atc", text)

    def operation(state: str, **more: Any) -> str:
        about = {"playbook": "update", "app_name": NAME, "target": "v2", "who": "a test", "lease": 1800, "wait": 0}
        return str(lock({**about, "state_dir": str(tmp_path), "state": state, **more}, False)["lock_token"])

    assert fresh(**ASKED[1], state_dir=str(tmp_path))["ran"]
    sql("UPDATE evenkeel_migrations SET release = 'r0', image = 'sha256:r0'")
    asked = fresh.parameters(plan=True, checks=[], state_dir=str(tmp_path))
    # Who only looks writes nothing.
    assert check(asked, False)["planned"]["due"] is True
    assert "known_by" not in sql("SELECT detail FROM evenkeel_migrations")
    token = operation("held")
    began = time.monotonic()
    planned = check({**asked, "lock_token": token}, False)["planned"]
    took = time.monotonic() - began
    assert planned["due"] is False and [o["name"] for o in planned["open"]] == ["0002_two"]
    assert "known_by" in sql("SELECT detail FROM evenkeel_migrations")
    operation("released", lock_token=token)
    began = time.monotonic()
    assert not fresh(**ASKED[1], state_dir=str(tmp_path))["changed"]
    print(
        f"checks with the note: {took:.1f} s; what a container for the note alone took: {time.monotonic() - began:.1f} s"
    )
    assert fresh.leftovers() == []
