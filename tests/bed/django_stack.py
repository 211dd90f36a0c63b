# SPDX-License-Identifier: GPL-3.0-or-later
"""A Compose project with a Django app that has two migrations, and the database that they are run on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import known_secrets
from ansible_collections.evenkeel.deploy.plugins.module_utils.calls import django_migrate
from tests.bed.shop import BEDS, LABEL, WORKER, run, settle
from tests.database.migrations.versions import django_site

NAME = f"evenkeel-django-migrate-{WORKER}"
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
        return django_migrate.call({"state": "planned", **self.parameters(**more)}, check)

    def refusal(self, **more: Any) -> str:
        """What a call is refused with; nothing of it is left."""
        with pytest.raises(BadInput) as caught:
            self(**more)
        assert self.leftovers() == []
        assert PASSWORD not in known_secrets.masked_text(caught.value.message())
        return caught.value.message()

    def leftovers(self) -> list[str]:
        settle(NAME)
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
