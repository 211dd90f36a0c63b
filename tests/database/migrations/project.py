# SPDX-License-Identifier: GPL-3.0-or-later
"""A Django project on the disk, with migrations as people write them, asked for its plan as the module asks."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host import app_script
from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations.host import migrate
from tests.database.migrations.forked import Forked, WarmDjango
from tests.database.postgres_server import PASSWORD, Postgres

MANAGE = """
import os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
from django.core.management import execute_from_command_line
print("as talkative as some projects are")
execute_from_command_line(sys.argv)
"""
SETTINGS = """
SECRET_KEY = "not told"
INSTALLED_APPS = [%(apps)s]
DATABASES = {%(databases)s}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
%(more)s
"""
DATABASE = """
"%(alias)s": {"ENGINE": "django.db.backends.postgresql", "NAME": "%(name)s", "USER": "postgres",
              "PASSWORD": "%(password)s", "HOST": "%(address)s", "PORT": "%(port)s"},
"""
MIGRATION = """
from django.db import migrations, models
from django.contrib.postgres import operations as postgres
%(before)s
class Migration(migrations.Migration):
    dependencies = [%(dependencies)s]
    operations = [%(operations)s]
%(more)s
"""


class Project:
    """A project with apps; databases are made anew.

    :param more: further settings, and further databases by their aliases.
    """

    #: What is set for its processes.
    variables: dict[str, str] = {}

    def __init__(self, folder: Path, django: WarmDjango, postgres: Postgres, apps: str = "shop", **more: str) -> None:
        self.folder, self.django, self.postgres, self.apps = folder, django, postgres, apps.split()
        self.more, self.databases = more.pop("settings", ""), {"default": "planned"}
        self.port, self.password = "5432", PASSWORD
        self.databases.update(more)
        for app in self.apps:
            (folder / app / "migrations").mkdir(parents=True)
            (folder / app / "__init__.py").touch()
            (folder / app / "migrations/__init__.py").touch()
            (folder / app / "models.py").touch()
        (folder / "manage.py").write_text(MANAGE)
        self.settle()
        for name in set(self.databases.values()):
            postgres.make(name)

    def settle(self) -> None:
        """Write the settings as they are now."""
        told = "".join(
            DATABASE
            % {"alias": a, "name": n, "address": self.postgres.address, "port": self.port, "password": self.password}
            for a, n in self.databases.items()
        )
        apps = "".join(f'"{app}", ' for app in ["django.contrib.contenttypes", *self.apps])
        text = SETTINGS % {"apps": apps, "databases": told, "more": self.more}
        (self.folder / "settings.py").write_text(text)

    def rows(self, statement: str, database: str = "planned") -> list[tuple[Any, ...]]:
        """Run a statement as the database's owner would, and return its rows."""
        return self.postgres.sql(statement, database)

    def sql(self, statement: str, database: str) -> None:
        """Run one that has none."""
        self.postgres.sql(statement, database)

    def start(self, *statements: str, databases: Sequence[str] = ("default",)) -> None:
        """Migrate from nothing and run statements; where this worker has begun the same way before, copy what came of it."""
        written = [f"{path.relative_to(self.folder)}\n{path.read_text()}" for path in sorted(self.folder.rglob("*.py"))]
        start = hashlib.sha256("\0".join([self.django.python, *written, *statements]).encode()).hexdigest()[:20]
        for alias in databases:
            name = self.databases[alias]
            copy = f"start_{start}_{name}"
            if self.postgres.has(copy):
                self.postgres.make(name, copy)
                continue
            self.manage("migrate", "--database", alias)
            for statement in statements:
                self.sql(statement, name)
            self.postgres.make(copy, name)

    def model(self, text: str, app: str = "shop") -> None:
        """Say what the code's models are."""
        (self.folder / app / "models.py").write_text(f"from django.db import models\n{text}")

    def migration(
        self, name: str, operations: str, after: str = "", app: str = "shop", before: str = "", more: str = ""
    ) -> None:
        """Write a migration; ``after`` is the one it follows, of the same app."""
        dependencies = "".join(f'("{d.split(".")[0]}", "{d.split(".")[1]}"), ' for d in after.split()) if "." in after else (
            f'("{app}", "{after}")' if after else ""
        )  # fmt: skip
        told = {"before": before, "dependencies": dependencies, "operations": operations, "more": more}
        (self.folder / app / f"migrations/{name}.py").write_text(MIGRATION % told)

    @property
    def environment(self) -> dict[str, str]:
        """Of its processes; without byte code, since a migration is written again within the second that its time tells."""
        return {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **self.variables}

    def process(self, *words: str) -> Forked:
        """Start ``manage.py``."""
        return self.django.begin(["manage.py", *words], self.folder, self.environment)

    def manage(self, *words: str) -> str:
        """Run ``manage.py`` and return what it has printed."""
        process = self.process(*words)
        printed, errors = process.communicate()
        assert process.returncode == 0, errors
        return printed

    def ask(self, databases: list[str] | None = None, target: str = "") -> dict[str, Any]:
        """What the script tells, as the module sends it."""
        script = app_script.as_text(migrate.MODULES, [databases or [], True, 3000, target])
        told = app_script.answer_in(self.manage("shell", "-c", script))
        assert told is not None
        return told

    def plan(self, declared: dict[str, str] | None = None, **asked: Any) -> dict[str, Any]:
        """What the module would return."""
        told = self.ask(**asked)
        assert "error" not in told, told
        return migrate.judged(told, declared or {})

    def why(self, **asked: Any) -> str:
        """What a user reads where there is no plan."""
        told = self.ask(**asked)
        return migrate.planning_error(told["error"], "api").message()
