# SPDX-License-Identifier: GPL-3.0-or-later
"""The module on a stack of its own: a plan, and a clear message for each reason why there is none."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.host.call_result import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.host.check_call import check
from ansible_collections.evenkeel.deploy.plugins.module_utils.host.migrate_call import migrate
from tests.bed.migrations.truth import django_site
from tests.bed.shop import BEDS, LABEL, ROOT, run

NAME = "evenkeel-django-migrate"
PASSWORD = "never-told-7713"
FILES = {
    "manage.py": """
import os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
""",
    "settings.py": """
import os
SECRET_KEY = "x"
INSTALLED_APPS = ["shop"]
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "shop", "USER": "postgres", "HOST": "db",
                         "PASSWORD": os.environ["DB_PASSWORD"]}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
""",
    "shop/__init__.py": "",
    "shop/migrations/__init__.py": "",
    "shop/migrations/0001_initial.py": """
from django.db import migrations, models
class Migration(migrations.Migration):
    operations = [migrations.CreateModel("Item", [("id", models.BigAutoField(primary_key=True)),
                                                  ("note", models.TextField(null=True))])]
""",
    "shop/migrations/0002_two.py": """
from django.db import migrations, models
class Migration(migrations.Migration):
    dependencies = [("shop", "0001_initial")]
    operations = [migrations.RemoveField("item", "note"),
                  migrations.AddField("item", "stock", models.IntegerField(null=True))]
""",
}


class Stack:
    """A database and a service whose entrypoint must never run."""

    def __init__(self) -> None:
        self.folder = BEDS / NAME
        self.password = PASSWORD

    def write(self, **changed: Any) -> Stack:
        """Write the project; ``changed`` goes into the service."""
        for name, text in FILES.items():
            path = self.folder / "app" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        api = {
            "image": "evenkeel/python:3.13",
            "working_dir": "/app",
            "entrypoint": ["sh", "-c", "touch /app/entrypoint-ran"],
            "environment": {"DB_PASSWORD": self.password, "PYTHONPATH": "/site", "PYTHONDONTWRITEBYTECODE": "1"},
            "labels": {LABEL: NAME},
            "volumes": [f"{self.folder}/app:/app", f"{django_site('5.2')}:/site:ro"],
        }
        db = {
            "image": "evenkeel/postgres:17",
            "environment": {"POSTGRES_PASSWORD": PASSWORD, "POSTGRES_DB": "shop"},
            "labels": {LABEL: NAME},
            "tmpfs": ["/var/lib/postgresql/data"],
            "healthcheck": {
                "test": ["CMD", "pg_isready", "-h", "127.0.0.1", "-U", "postgres"],
                "interval": "1s",
                "retries": 90,
            },
        }
        networks = {"default": {"labels": {LABEL: NAME}}}
        project = {"name": NAME, "services": {"api": {**api, **changed}, "db": db}, "networks": networks}
        (self.folder / "compose.yaml").write_text(json.dumps(project))
        return self

    def compose(self, *words: str) -> str:
        return run(["docker", "compose", "--project-directory", str(self.folder), *words])

    def parameters(self, **more: Any) -> dict[str, Any]:
        return {"project_src": str(self.folder), "service": "api", "manage_py": "manage.py", "timeout": 120.0, **more}

    def __call__(self, check: bool = False, **more: Any) -> dict[str, Any]:
        return migrate(self.parameters(**more), check)

    def refusal(self, **more: Any) -> str:
        """What a call is refused with; nothing of it is left."""
        with pytest.raises(BadInput) as caught:
            self(**more)
        assert self.leftovers() == []
        assert PASSWORD not in caught.value.message()
        return caught.value.message()

    def leftovers(self) -> list[str]:
        found = [
            container
            for purpose in ("plan", "migrate")
            for container in run(["docker", "ps", "-aq", "--filter", f"label=evenkeel.{purpose}={NAME}"]).split()
        ]
        return found + [str(p) for p in self.folder.glob("app/entrypoint-ran")]


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    shutil.rmtree(BEDS / NAME, ignore_errors=True)
    made = Stack()
    made.write()
    try:
        made.compose("up", "-d", "--wait", "db")
        made.compose(
            "run", "--rm", "-T", "--entrypoint", "python", "api", "manage.py", "migrate", "shop", "0001", "-v0"
        )
        yield made
    finally:
        made.write().compose("down", "-v", "--timeout", "1")
        shutil.rmtree(made.folder, ignore_errors=True)


@pytest.fixture
def fresh(stack: Stack) -> Stack:
    """The stack as it was, whatever a test has made of it."""
    stack.password = PASSWORD
    return stack.write()


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
