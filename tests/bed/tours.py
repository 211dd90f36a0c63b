# SPDX-License-Identifier: GPL-3.0-or-later
"""A stack of somebody else's: nothing in it was written for this collection, and it was started by hand.

An API and no page at ``/`` of it, asked by https and by its own name alone; PostgreSQL's data in ``./pgdata`` and
certificates that git ignores; a worker that depends on the web and a scheduler that depends on the worker; a front end
built by a service that says nothing of restarts; no health check, no ``EXPOSE``, ``python3`` alone in the image.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from demo.repository import add_commit, open_repository, read_tree
from tests.bed.hand_started import HandStarted
from tests.bed.load.audit import Audit, Confirmation, OrderRow
from tests.bed.load.database import Database, wait_for_tasks
from tests.bed.load.orders import Acknowledged
from tests.bed.load.process import LoadRun
from tests.bed.load.result import Result
from tests.bed.nothing_lost import assert_nothing_lost
from tests.bed.shop import RATE, BedError, run

TREE = Path(__file__).parent / "tours"
NAME = "tours.example"
#: What users do: new and persistent connections, bookings, pages and what they name, requests of 2 s, uploads of 4 s.
USERS = "new=4,keepalive=4,static=1,slow=2,upload=1"
VIEWS = "backend/bookings/views.py"
PASSWORD = "tours-of-the-bed"
_MIGRATION = """# SPDX-License-Identifier: GPL-3.0-or-later
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("bookings", "{after}")]
    operations = [migrations.{operation}]
"""
_EMAIL = "    email = models.EmailField()\n"
_NOTE = "    note = models.TextField(null=True)\n"


class Bookings(Database):
    """The same questions, of the tables that this app has."""

    def orders(self) -> list[OrderRow]:
        return [OrderRow(int(i), reference) for i, reference in self.rows("SELECT id, reference FROM bookings_booking")]

    def confirmations(self) -> list[Confirmation]:
        return [Confirmation(int(row[0])) for row in self.rows("SELECT booking_id FROM bookings_mail")]


class Tours(HandStarted):
    """See the module's text."""

    proxy = "edge"

    def __init__(self, name: str, variables: Mapping[str, Any] | None = None) -> None:
        super().__init__(name)
        self.url = f"https://127.0.0.1:{self.port}"
        self.address = f"https://{NAME}:{self.port}"
        self.variables.update(
            {
                "app_compose_files": ["docker-compose.yml"],
                "app_health_url": f"{self.address}/api/health/",
                "app_verify_paths": [{"path": "/api/tours/", "contains": "Tour 12"}, {"path": "/", "contains": "root"}],
                **(variables or {}),
            }
        )
        self.acknowledged: list[Acknowledged] = []
        self.unknown: set[str] = set()

    @property
    def certificate(self) -> Path:
        return self.home / "nginx/certs/fullchain.pem"

    def load(self, seconds: float = 1500.0, rate: float = RATE, mix: str = USERS, arguments: Any = ()) -> LoadRun:
        own = ("--timeout", "60", "--connect-timeout", "30", *arguments)
        return LoadRun(self.url, self.folder / "load", host=NAME, rate=rate, seconds=seconds, mix=mix, arguments=own)

    # -- life -----------------------------------------------------------------------------------------

    def create(self, env: str = "", git: bool = True) -> Tours:
        """Make repository and inventory, a checkout of v1, and beside it what git ignores: environment and certificate."""
        self.folder.mkdir(parents=True)
        self.write_inventory()
        repository = open_repository(self.repository)
        first = repository.commit(None, read_tree(TREE), "Tours", 1767603600)
        for reference in ("refs/tags/v1", "refs/heads/main"):
            repository("update-ref", reference, first)
        commit_versions(self.repository)
        run(["git", "clone", "-q", "--branch", "v1", str(self.repository), str(self.home)])
        environment = {
            "BED_LABEL": self.name, "HTTP_PORT": self.spare_port, "HTTPS_PORT": self.port,
            "POSTGRES_DB": "tours", "POSTGRES_USER": "tours", "POSTGRES_PASSWORD": PASSWORD,
            "DJANGO_SECRET_KEY": f"{PASSWORD}-{'0123456789' * 5}", "DJANGO_ALLOWED_HOSTS": NAME,
            "REDIS_URL": "redis://cache:6379/1",
        }  # fmt: skip
        self.write_env("".join(f"{name}={value}\n" for name, value in environment.items()) + env)
        self.certificate.parent.mkdir()
        argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={NAME}"]
        argv += ["-addext", f"subjectAltName=DNS:{NAME}", "-out", str(self.certificate)]
        run([*argv, "-keyout", str(self.certificate.with_name("privkey.pem"))])
        return self

    def start(self, *options: str) -> Tours:
        """Start it as its owner does: database and broker, the tables, then everything."""
        base = ["docker", "compose", "-p", self.name, *options]
        run([*base, "up", "-d", "db", "cache"], cwd=self.home)
        self._until(
            lambda: "accepting" in run(["docker", "exec", self.container("db"), "pg_isready", "-h", "127.0.0.1"])
        )
        run([*base, "run", "--rm", "--build", "-T", "api", "python3", "manage.py", "migrate"], cwd=self.home)
        run([*base, "up", "-d", "--build"], cwd=self.home, timeout=600)
        self._until(lambda: self.version() == "v1" and "root" in self.page())
        return self

    @staticmethod
    def _until(met: Any, seconds: float = 120.0) -> None:
        end = time.monotonic() + seconds
        while True:
            try:
                if met():
                    return
            except BedError:
                pass
            if time.monotonic() > end:
                raise BedError("the stack did not start")
            time.sleep(0.5)

    # -- what is there --------------------------------------------------------------------------------

    def get(self, path: str, *options: str) -> str:
        """What a user gets, who takes no certificate but the right one."""
        here = ["--resolve", f"{NAME}:{self.port}:127.0.0.1", "--cacert", str(self.certificate)]
        return run(["curl", "--silent", "--fail", "--max-time", "30", *here, *options, f"{self.address}{path}"])

    def leftovers(self) -> list[str]:
        # The container that built the front end by hand has ended, and goes with the next plain `up -d`.
        return [line for line in super().leftovers() if f"{self.name}-frontend-1" not in line]

    def health(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.get("/api/health/"))
        return found

    def version(self) -> str:
        """What the API says through nginx, empty when it does not answer."""
        try:
            return str(self.health()["version"])
        except (BedError, ValueError, KeyError):
            return ""

    def page(self) -> str:
        """The season that the front end shows: the script that the page names, as it is served."""
        page = self.get("/")
        name = page.partition('src="')[2].partition('"')[0]
        return f"{self.get(name).strip()} root" if 'id="root"' in page else ""

    @property
    def database(self) -> Database:
        return Bookings(self.container("db"), "tours", "tours")

    def sql(self, statement: str, database: str = "tours") -> str:
        """What the database itself answers."""
        psql = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", "tours", "-d", database, "-At", "-c", statement]
        return run(["docker", "exec", self.container("db"), *psql]).strip()

    def migrations(self) -> list[str]:
        return self.sql("SELECT name FROM django_migrations WHERE app = 'bookings' ORDER BY name").split()

    # -- what became of bookings ----------------------------------------------------------------------

    def settle_accounts(self, load: LoadRun, result: Result) -> Audit:
        """Hold every booking that was ever acknowledged against rows and mails, not only those of this load."""
        self.acknowledged += load.acknowledged()
        self.unknown |= set(result.unknown_orders)
        return wait_for_tasks(self.database, self.acknowledged, self.unknown, patience=120.0).audit

    @contextmanager
    def users(self, what: str) -> Iterator[None]:
        """Users all the while; none of them is failed, and nothing of theirs is lost."""
        with self.load() as load:
            yield
            result = load.stop()
        assert_nothing_lost(self, load, result)
        print(f"\nevidence: {what}: {result.total:,} requests by https, 0 failed, the slowest answer after "
              f"{result.latency_ms['max'] / 1000:.1f} s")  # fmt: skip


def commit_versions(repository: Path) -> None:
    """v2 has a column more and another front end; the rest is on v2.

    ``broken`` answers 500 where users look, ``lame`` never starts, ``required`` has a column that v2 knows nothing of and
    that may not be empty, ``moved`` another name for a table that v2 writes to, ``renamed`` one for a column, and another one that
    may not be empty and has a default.
    """
    models = (TREE / "backend/bookings/models.py").read_text(encoding="utf-8")
    views = (TREE / VIEWS).read_text(encoding="utf-8")
    assert models.count(_EMAIL) == 1

    def commit(tag: str, parent: str, files: Mapping[str, str], operation: str = "", name: str = "") -> None:
        own = {"backend/config/version.py": f'# SPDX-License-Identifier: GPL-3.0-or-later\nVERSION = "{tag}"\n'}
        if operation:
            after = "0001_initial" if parent == "v1" else "0002_note"
            own[f"backend/bookings/migrations/{name}.py"] = _MIGRATION.format(after=after, operation=operation)
        add_commit(repository, {**own, **files}, tag, parent)

    summer = 'document.getElementById("root").textContent = "summer";\n'
    second = models.replace(_EMAIL, _EMAIL + _NOTE)
    commit("v2", "v1", {"frontend/src/main.js": summer, "backend/bookings/models.py": second},
           'AddField("booking", "note", models.TextField(null=True))', "0002_note")  # fmt: skip
    commit("broken", "v2", {VIEWS: views.replace('values("id", "name")', 'values("id", "title")')})
    commit("lame", "v2", {"backend/config/wsgi.py": "import nowhere\n"})
    required = second.replace(_NOTE, f"{_NOTE}    channel = models.CharField(max_length=20)\n")
    commit("required", "v2", {"backend/bookings/models.py": required},
           'AddField("booking", "channel", models.CharField(max_length=20))', "0003_channel")  # fmt: skip
    elsewhere = second + '\n    class Meta:\n        db_table = "reservations"\n'
    commit("moved", "v2", {"backend/bookings/models.py": elsewhere},
           'AlterModelTable("mail", "reservations")', "0003_moved")  # fmt: skip
    asked = f'{_NOTE}    channel = models.CharField(default="web", max_length=20)\n'
    renamed = second.replace("email =", "contact =").replace(_NOTE, asked)
    commit("renamed", "v2", {"backend/bookings/models.py": renamed, VIEWS: views.replace("email=data", "contact=data")},
           'RenameField("booking", "email", "contact"),\n        migrations.AddField("booking", "channel", '
           'models.CharField(default="web", max_length=20))', "0003_contact")  # fmt: skip
