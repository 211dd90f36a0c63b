# SPDX-License-Identifier: GPL-3.0-or-later
"""Django's own checks and an app's tests on a stack of its own, while its production database runs beside them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import known_secrets
from ansible_collections.evenkeel.deploy.plugins.module_utils.calls.django_check import call as check
from tests.bed.shop import BEDS, LABEL, ROOT, run, settle
from tests.database.migrations.versions import django_site

NAME = "evenkeel-django-check"
PASSWORD = "never-told-8824"
BOTH = ["deploy", "migrations"]
SCRATCH = f"label=evenkeel.scratch={NAME}"
MODEL = """
from django.db import models
class Item(models.Model):
    name = models.CharField(max_length=50)
"""
ITEM = '("id", models.BigAutoField(primary_key=True, serialize=False, auto_created=True, verbose_name="ID"))'
FILES = {
    "manage.py": """
import os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
from django.core.management import execute_from_command_line
print("as talkative as some projects are")
execute_from_command_line(sys.argv)
""",
    "settings.py": """
import os
SECRET_KEY = "x"
INSTALLED_APPS = ["django.contrib.contenttypes", "shop", "others"]
MIDDLEWARE = ["django.middleware.security.SecurityMiddleware"]
SILENCED_SYSTEM_CHECKS = ["shop.E007"]
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "shop", "USER": "postgres",
                         "HOST": os.environ.get("DB_HOST", "db"), "PASSWORD": os.environ["DB_PASSWORD"]}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
""",
    "shop/__init__.py": "",
    "shop/models.py": MODEL,
    "shop/migrations/__init__.py": "",
    "shop/migrations/0001_initial.py": f"""
from django.db import migrations, models
class Migration(migrations.Migration):
    operations = [migrations.CreateModel("Item", [{ITEM}, ("name", models.CharField(max_length=50))])]
""",
    # A package of somebody else's, which was made with another DEFAULT_AUTO_FIELD.
    "vendor/site-packages/others/__init__.py": "",
    "vendor/site-packages/others/models.py": MODEL.replace("Item", "Thing"),
    "vendor/site-packages/others/migrations/__init__.py": "",
    "vendor/site-packages/others/migrations/0001_initial.py": f"""
from django.db import migrations, models
class Migration(migrations.Migration):
    operations = [migrations.CreateModel("Thing", [{ITEM.replace("Big", "")}, ("name", models.CharField(max_length=50))])]
""",
    "shop/tests.py": """
import os, socket
import psycopg
from django.conf import settings
from django.test import TestCase
from shop.models import Item

class Scratch(TestCase):
    def test_a_row(self):
        Item.objects.create(name="x")

    def test_the_plain_database_is_a_fresh_one(self):
        known = settings.DATABASES["default"]
        with psycopg.connect(host=known["HOST"], dbname="shop", user="postgres", password=known["PASSWORD"],
                             autocommit=True) as connection:
            self.assertEqual(connection.execute("SELECT to_regclass('proof')").fetchone(), (None,))
            connection.execute("CREATE TABLE proof AS SELECT 'of tests' AS what")

    def test_servers_answer_by_the_names_that_they_have_in_production(self):
        for name, port in (("db", 5432), ("ledger", 5432), ("the-database", 5432), ("redis", 6379)):
            socket.create_connection((name, port), 3).close()

    def test_production_and_this_host_are_out_of_reach(self):
        mine = socket.create_connection(("db", 5432), 3).getsockname()[0]
        gateway = mine.rsplit(".", 1)[0] + ".1"
        for address in [*os.environ["PRODUCTION"].split(), gateway]:
            try:
                socket.create_connection((address, 5432), 2).close()
            except ConnectionRefusedError:
                self.fail(address + " was reached, though nobody listens")
            except OSError:
                continue
            self.fail(address + " was reached")

    def test_nothing_of_the_service_can_be_written(self):
        self.assertEqual(os.listdir("/media"), [])
        with self.assertRaises(OSError):
            open("/app/written", "w")
""",
    "shop/failing.py": """
import os
from django.test import SimpleTestCase
class Fails(SimpleTestCase):
    def test_it(self):
        print("connects with", os.environ["DB_PASSWORD"])
        self.assertEqual("one tour", "two tours")
""",
}
CALL = """
import json, sys
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.host.result import finish
from ansible_collections.evenkeel.deploy.plugins.module_utils.calls.django_check import call as check
class Module:
    params, check_mode = json.loads(sys.argv[1]), False
    def exit_json(self, **result): print(json.dumps(result))
    def fail_json(self, **result): print(json.dumps({**result, "failed": True}))
finish(Module(), check)
"""


class Stack:
    """A production of a database that runs, and a service whose entrypoint must never run."""

    def __init__(self) -> None:
        self.folder, self.state = BEDS / NAME / "project", BEDS / NAME / "state"
        self.production = "production-is-not-known"

    def write(self, files: dict[str, str] | None = None, env: dict[str, str] | None = None, **services: Any) -> Stack:
        """Write the project, its app with other files."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for name, text in {**FILES, **(files or {})}.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        labels = {LABEL: NAME}
        api = {
            "image": NAME,
            "working_dir": "/app",
            "entrypoint": ["sh", "-c", "touch /media/entrypoint-ran"],
            "environment": {"DB_PASSWORD": PASSWORD, "PRODUCTION": self.production, **(env or {})},
            "labels": labels,
            "volumes": [".:/app", "media:/media"],
        }
        db = {
            "image": "evenkeel/postgres:17",
            "container_name": f"{NAME}-the-database",
            "environment": {"POSTGRES_PASSWORD": PASSWORD, "POSTGRES_DB": "shop"},
            "labels": labels,
            "volumes": ["pgdata:/var/lib/postgresql/data"],
            "networks": {"default": {"aliases": ["ledger", "the-database"]}},
            "healthcheck": {
                "test": ["CMD", "pg_isready", "-U", "postgres"],
                "interval": "30s",
                "start_period": "60s",
                "start_interval": "1s",
            },
        }
        redis = {"image": "evenkeel/redis:8", "labels": labels}
        project = {
            "name": NAME,
            "services": {"api": api, "db": db, "redis": redis, **services},
            "networks": {"default": {"labels": labels}},
            "volumes": {n: {"labels": labels} for n in ("media", "pgdata")},
        }
        (self.folder / "compose.yaml").write_text(json.dumps(project))
        return self

    def parameters(self, **more: Any) -> dict[str, Any]:
        own = {"project_src": str(self.folder), "state_dir": str(self.state), "service": "api", "timeout": 120.0}
        return {**own, "manage_py": "manage.py", "checks": BOTH, **more}

    def __call__(self, check_mode: bool = False, **more: Any) -> dict[str, Any]:
        # As it leaves the module.
        result: dict[str, Any] = known_secrets.masked(check(self.parameters(**more), check_mode))
        assert self.leftovers() == []
        assert PASSWORD not in json.dumps(result)
        return result

    def refusal(self, **more: Any) -> str:
        """What a call is refused with."""
        with pytest.raises(BadInput) as caught:
            self(**more)
        assert self.leftovers() == []
        assert PASSWORD not in known_secrets.masked_text(caught.value.message())
        return caught.value.message()

    def begin(self, **more: Any) -> subprocess.Popen[str]:
        """The same in a process of its own."""
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'collections'}"}
        argv = [sys.executable, "-c", CALL, json.dumps(self.parameters(**more))]
        return subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True)

    def leftovers(self) -> list[str]:
        """What is there of scratch copies, and one-offs."""
        settle(NAME)
        found = run(["docker", "ps", "-aq", "--filter", SCRATCH]).split()
        found += run(["docker", "network", "ls", "-q", "--filter", SCRATCH]).split()
        return found + run(["docker", "ps", "-aq", "--filter", f"label=evenkeel.plan={NAME}"]).split()

    def sql(self, statement: str) -> str:
        psql = ["psql", "-X", "-q", "-U", "postgres", "-d", "shop", "-At", "-c", statement]
        return run(["docker", "exec", f"{NAME}-the-database", *psql]).strip()

    def destroy(self) -> None:
        for chosen in (f"label={LABEL}={NAME}", SCRATCH):
            for listing, removal in (
                (["ps", "-aq"], ["rm", "-fv"]),
                (["volume", "ls", "-q"], ["volume", "rm"]),
                (["network", "ls", "-q"], ["network", "rm"]),
                (["images", "-q", "--no-trunc"], ["rmi", "-f"]),
            ):
                found = sorted(set(run(["docker", *listing, "--filter", chosen]).split()))
                if found:
                    run(["docker", *removal, *found])
        shutil.rmtree(BEDS / NAME, ignore_errors=True)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    made = Stack()
    made.destroy()
    try:
        made.write()
        recipe = BEDS / NAME / "Dockerfile"
        recipe.write_text(
            "FROM evenkeel/python:3.13\nENV PYTHONPATH=/site:/app/vendor/site-packages PYTHONDONTWRITEBYTECODE=1\n"
            "COPY . /site\n"
        )
        run(
            [
                "docker",
                "build",
                "--quiet",
                "--tag",
                NAME,
                "--label",
                f"{LABEL}={NAME}",
                "--file",
                str(recipe),
                django_site("5.2"),
            ]
        )
        run(["docker", "compose", "--project-directory", str(made.folder), "up", "--detach", "--wait", "db"])
        networks = json.loads(run(["docker", "inspect", f"{NAME}-the-database"]))[0]["NetworkSettings"]["Networks"]
        (network,) = networks.values()
        made.production = f"{network['IPAddress']} {network['Gateway']} {NAME}-the-database.{NAME}_default 172.17.0.1"
        made.sql("CREATE TABLE proof AS SELECT 'of production' AS what")
        yield made
    finally:
        made.destroy()


def test_a_clean_app_passes_with_its_warnings_shown_and_those_of_others_noted(stack: Stack) -> None:
    stack.write()
    result = stack()
    assert (result["changed"], result["check_errors"], result["missing_migrations"]) == (False, [], [])
    warned = {m["id"]: m for m in result["check_warnings"]}
    assert {m["level"] for m in result["check_warnings"]} == {"warning"} and "SECURE_HSTS_SECONDS" in warned[
        "security.W004"
    ]["message"]
    assert len(result["notes"]) == 1 and "others (Alter field id on thing)" in result["notes"][0]
    assert "warn of" in result["msg"] and result["timeline"][0]["step"] == "check"
    # Read-only, so in check mode as well, where everything it needs is there.
    run(["docker", "compose", "--project-directory", str(stack.folder), "create", "api"])
    assert stack(check_mode=True, test_command="manage.py test")["msg"].endswith("would run python manage.py test")


def test_errors_and_changes_without_a_migration_stop_by_name(stack: Stack) -> None:
    checks = """
from django.core import checks
@checks.register(checks.Tags.security, deploy=True)
def account(app_configs, **kwargs):
    import os
    return [checks.Error("no account for payments with " + os.environ["DB_PASSWORD"], hint="set ACCOUNT", id="shop.E001"),
            checks.Error("silenced", id="shop.E007")]
"""
    changed = MODEL + "    price = models.IntegerField()\n    note = models.TextField()\n"
    stack.write({"shop/models.py": changed + checks})
    result = stack()
    assert result["failed"] and [e["id"] for e in result["check_errors"]] == ["shop.E001"]
    assert result["missing_migrations"] == [
        {"app": "shop", "operations": ["Add field note to item", "Add field price to item"]}
    ]
    said = result["msg"]
    assert "no account for payments with <DB_PASSWORD> (shop.E001); set ACCOUNT" in said
    assert "shop (Add field note to item, Add field price to item)" in said
    assert "manage.py makemigrations shop" in said and "Now: nothing was touched" in said
    assert "failed" not in stack(checks=[])
    # Tests do not begin where a check stops.
    assert len(stack(test_command="manage.py test")["timeline"]) == 1
    assert sorted(p.name for p in (stack.folder / "shop/migrations").iterdir()) == ["0001_initial.py", "__init__.py"]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"settings.py": "import nowhere"}, "No module named 'nowhere'"),
        ({"settings.py": FILES["settings.py"] + 'ROOT_URLCONF = "urls"\n', "urls.py": "import gone"}, "No module named 'gone'"),
        (
            {
                "shop/migrations/0002_one.py": 'from django.db import migrations\nclass Migration(migrations.Migration):\n'
                '    dependencies = [("shop", "0001_initial")]\n',
                "shop/migrations/0002_two.py": 'from django.db import migrations\nclass Migration(migrations.Migration):\n'
                '    dependencies = [("shop", "0001_initial")]\n',
            },
            "0002_one, 0002_two in shop",
        ),
    ],
)  # fmt: skip
def test_an_app_that_cannot_even_be_asked(stack: Stack, files: dict[str, str], said: str) -> None:
    stack.write(files)
    try:
        message = stack()["msg"]
    except BadInput as error:
        message = error.message()
    assert said in message and "Next:" in message


def test_the_teams_own_apps_stop_wherever_they_are_installed(stack: Stack) -> None:
    """Migrations of the project's own for a package, and a project that is itself installed."""
    moved = 'MIGRATION_MODULES = {"others": "shop.others_migrations"}\n'
    stack.write(
        {
            "settings.py": FILES["settings.py"] + moved,
            "shop/others_migrations/__init__.py": "",
            "shop/others_migrations/0001_initial.py": FILES["vendor/site-packages/others/migrations/0001_initial.py"],
        }
    )
    assert [m["app"] for m in stack()["missing_migrations"]] == ["others"]
    # An app of others is not yours because both have scripts.
    scripts = "../../bin/{0},,\n__pycache__/{0}.cpython-313.pyc,,\n{0}/__init__.py,,\n"
    own = 'import os, sys\nos.environ["DJANGO_SETTINGS_MODULE"] = "configuration"\n'
    installed = {
        "manage.py": own + FILES["manage.py"],
        "vendor/site-packages/configuration/__init__.py": FILES["settings.py"],
        "vendor/site-packages/shop-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: shop\nVersion: 1\n",
        "vendor/site-packages/shop-1.dist-info/RECORD": scripts.format("configuration"),
        "vendor/site-packages/others-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: others\nVersion: 1\n",
        "vendor/site-packages/others-1.dist-info/RECORD": scripts.format("others"),
    }
    stack.write(installed)
    result = stack()
    assert result["missing_migrations"] == [] and "others (" in result["notes"][0]
    record = {
        "vendor/site-packages/shop-1.dist-info/RECORD": scripts.format("configuration") + scripts.format("others")
    }
    stack.write({**installed, **record})
    assert [m["app"] for m in stack()["missing_migrations"]] == ["others"]


def test_tests_have_fresh_servers_and_no_way_to_production(stack: Stack) -> None:
    stack.write()
    # What the tests must not reach can be reached from where the app runs.
    address = stack.production.split()[0]
    connect = f"import socket; socket.create_connection(('{address}', 5432), 5)"
    own = ["docker", "run", "--rm", "--label", f"{LABEL}={NAME}", "--network", f"{NAME}_default"]
    run([*own, NAME, "python3", "-c", connect])
    result = stack(checks=[], test_command="manage.py test --noinput shop.tests")
    assert "failed" not in result, result["msg"]
    assert result["tests"]["command"] == "python manage.py test --noinput shop.tests"
    log = Path(result["tests"]["log"])
    assert "Ran 5 tests" in log.read_text() and "OK" in result["tests"]["last_lines"]
    assert stack.sql("SELECT what FROM proof") == "of production"
    assert stack.sql("SELECT count(*) FROM pg_database WHERE datname LIKE 'test%'") == "0"


def test_tests_that_fail_are_told_with_their_end_and_without_secrets(stack: Stack) -> None:
    stack.write()
    result = stack(checks=[], test_command=["manage.py", "test", "--noinput", "shop.failing"])
    assert result["failed"] and "the tests failed (exit code 1)" in result["msg"]
    assert "'one tour' != 'two tours'" in result["msg"] and "Now: nothing was touched" in result["msg"]
    assert [t["result"] for t in result["timeline"]] == ["ok", "failed"]
    log = stack.state / "logs/django-tests.log"
    assert "connects with <DB_PASSWORD>" in log.read_text() and log.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("command", "more", "said"),
    [
        ("nowhere", {}, "could not be started"),
        (["sh", "-c", "sleep 300"], {"timeout": 15.0}, "did not end in 15 s"),
        (["sh", "-c", "test -n $HOME; exit 3"], {}, "exit code 3"),
        ("", {}, ""),
    ],
)
def test_however_tests_end_nothing_is_left(stack: Stack, command: Any, more: dict[str, Any], said: str) -> None:
    stack.write()
    result = stack(checks=[], test_command=command, **more)
    assert result.get("failed", False) is bool(said) and said in result["msg"], result["msg"]


def test_what_has_no_database_in_the_project_is_refused_before_anything_runs(stack: Stack) -> None:
    stack.write(env={"DB_HOST": "managed.example.com"})
    said = stack.refusal(checks=[], test_command="manage.py test")
    assert "default of the app's settings is at managed.example.com" in said and "--settings" in said
    assert "no command" in stack.refusal(test_command="manage.py 'test")


def waited_for(process: subprocess.Popen[str], besides: str = "") -> str:
    """The name of the tests' container once it runs."""
    tests = ["--filter", "label=com.docker.compose.service=evenkeel-tests"]
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        found = run(["docker", "ps", "--format", "{{.Names}}", "--filter", SCRATCH, *tests]).split()
        if found and found[0] != besides:
            return found[0]
        time.sleep(0.2)
    raise AssertionError(f"no tests began: {process.stdout.read() if process.stdout else ''}")


def test_what_a_killed_call_left_is_taken_away_by_the_next(stack: Stack) -> None:
    stack.write()
    process = stack.begin(checks=[], test_command="sleep 300")
    first = waited_for(process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = run(["docker", "ps", "-aq", "--filter", SCRATCH]).split()
    mounts = [m for i in json.loads(run(["docker", "inspect", *left])) for m in i["Mounts"]]
    volumes = {m["Name"] for m in mounts if m["Type"] == "volume"}
    assert len(left) == 3 and len(volumes) == 2
    process = stack.begin(checks=[], test_command="sleep 300")
    waited_for(process, first)
    assert set(left) & set(run(["docker", "ps", "-aq"]).split()) == set()
    # This one is asked to end, and takes away what it has made by itself.
    process.send_signal(signal.SIGTERM)
    told = json.loads((process.communicate(timeout=60)[0]).splitlines()[-1])
    assert told["failed"] and "ended by SIGTERM" in told["msg"]
    assert stack.leftovers() == []
    assert volumes & set(run(["docker", "volume", "ls", "-q"]).split()) == set()


def test_the_role_shows_what_is_warned_of_and_stops_where_tests_fail(stack: Stack, tmp_path: Path) -> None:
    stack.write()
    known = {
        "app_django_service": "api", "app_services": {}, "update_checks": BOTH, "update_plan_with_checks": False,
        "update_declared_phases": {}, "update_bridges": [], "update_allow_data_loss": [],
        "update_release": {"revision": "0123456789abcdef", "release_path": str(stack.folder)},
        "update_test_command": "manage.py test --noinput shop.failing",
        "operation_plan": {"rest": {"start": []}}, "operation_first": False,
    }  # fmt: skip
    lock = {"state_dir": str(stack.state), "playbook": "update", "app_name": NAME, "target": "v2"}
    token = {"state_dir": str(stack.state), "lock_token": "{{ operation_lock.lock_token }}"}
    play = {
        "hosts": "all",
        "gather_facts": False,
        "tasks": [
            {"evenkeel.deploy.deploy_lock": lock, "register": "operation_lock"},
            {
                "module_defaults": {"group/evenkeel.deploy.all": token},
                "block": [{"ansible.builtin.include_tasks": str(ROOT / "roles/update/tasks/checks.yml")}],
                "always": [{"evenkeel.deploy.deploy_lock": {"state": "released"}}],
            },
        ],
    }
    path = tmp_path / "play.yml"
    path.write_text(yaml.safe_dump([play]))
    argv = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "shop,", "-c", "local", str(path)]
    variables = {**known, "ansible_python_interpreter": sys.executable}

    def played(**more: Any) -> str:
        done = subprocess.run(
            [*argv, "-e", json.dumps({**variables, **more})], cwd=ROOT, capture_output=True, text=True, check=False,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml"}, timeout=300,
        )  # fmt: skip
        assert stack.leftovers() == []
        return f"{done.stdout}{done.stderr}\nexit {done.returncode}"

    said = played()
    assert said.endswith("exit 2") and "FAIL: test_it" in said and PASSWORD not in said, said
    assert "tests: waits for a scratch db and redis" in said
    said = played(update_test_command="")
    assert said.endswith("exit 0") and "security.W004: You have not set a value" in said, said
    assert "find no error and warn of" in said and "enabling HSTS carelessly" not in said, said
