# SPDX-License-Identifier: GPL-3.0-or-later
"""A Django project on the disk, with migrations as people write them, asked for its plan as the module asks."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from ansible_collections.evenkeel.deploy.plugins.module_utils.host import app_script, migrate_call

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
              "PASSWORD": "%(password)s", "HOST": "127.0.0.1", "PORT": "%(port)s"},
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
    """A project with apps; databases are made anew."""

    def __init__(self, folder: Path, python: str, port: str, apps: str = "shop", **more: str) -> None:
        self.folder, self.python, self.port, self.apps = folder, python, port, apps.split()
        self.more, self.databases, self.password = more.pop("settings", ""), {"default": "planned"}, "measured"
        self.databases.update(more)
        for app in self.apps:
            (folder / app / "migrations").mkdir(parents=True)
            (folder / app / "__init__.py").touch()
            (folder / app / "migrations/__init__.py").touch()
            (folder / app / "models.py").touch()
        (folder / "manage.py").write_text(MANAGE)
        self.settle()
        for name in set(self.databases.values()):
            self.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            self.sql(f"CREATE DATABASE {name}")

    def settle(self) -> None:
        """Write the settings as they are now."""
        told = "".join(
            DATABASE % {"alias": a, "name": n, "port": self.port, "password": self.password}
            for a, n in self.databases.items()
        )
        apps = "".join(f'"{app}", ' for app in ["django.contrib.contenttypes", *self.apps])
        text = SETTINGS % {"apps": apps, "databases": told, "more": self.more}
        (self.folder / "settings.py").write_text(text)

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run a statement as the database's owner would."""
        code = (
            "import psycopg, sys\n"
            f"with psycopg.connect('host=127.0.0.1 port={self.port} user=postgres password=measured dbname={database}',"
            "autocommit=True) as c:\n"
            "    found = c.execute(sys.argv[1])\n"
            "    print(found.fetchall() if found.description else '')\n"
        )
        done = subprocess.run([self.python, "-c", code, statement], capture_output=True, text=True, check=True)
        return done.stdout.strip()

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

    def manage(self, *words: str) -> str:
        """Run ``manage.py``."""
        done = subprocess.run(
            [self.python, "manage.py", *words], cwd=self.folder, capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ask(self, databases: list[str] | None = None, target: str = "") -> dict[str, Any]:
        """What the script tells, as the module sends it."""
        script = app_script.as_text(migrate_call.MODULES, [databases or [], True, 3000, target])
        told = app_script.answer_in(self.manage("shell", "-c", script))
        assert told is not None
        return told

    def plan(self, declared: dict[str, str] | None = None, **asked: Any) -> dict[str, Any]:
        """What the module would return."""
        told = self.ask(**asked)
        assert "error" not in told, told
        return migrate_call.judged(told, declared or {})

    def why(self, **asked: Any) -> str:
        """What a user reads where there is no plan."""
        told = self.ask(**asked)
        return migrate_call.planning_error(told["error"], {"service": "api"}).message()
