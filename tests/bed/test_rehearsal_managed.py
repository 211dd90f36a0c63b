# SPDX-License-Identifier: GPL-3.0-or-later
"""An update is rehearsed on the backup of a database that is no service: by the app's own settings, TLS and address included."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.calls.update_rehearsal import call as rehearse
from ansible_collections.evenkeel.deploy.plugins.module_utils.postgres.host.server import Server
from ansible_collections.evenkeel.deploy.plugins.module_utils.postgres.host.throwaway_tls import offer_tls
from tests.bed.backup_stack import PASSWORD, eventually
from tests.bed.django_stack import FILES
from tests.bed.managed_database import HOST, IMAGE, NAME, NOWHERE, SERVER, SETTINGS, Managed, fresh, managed
from tests.bed.migrating_update import App
from tests.bed.shop import run
from tests.database.migrations.versions import django_site

#: Fixtures of the bed that backups are made in.
__all__ = ["fresh", "managed"]

INSISTS = SETTINGS.replace(
    f'"HOST": "{HOST}"', f'"HOST": os.environ.get("DB_HOST", "{HOST}"), "OPTIONS": {{"sslmode": "require"}}'
)
MIGRATION = """
from django.db import migrations
evenkeel_phase = "before"
class Migration(migrations.Migration):
    dependencies = [("shop", "0001_initial")]
    operations = [migrations.RunSQL({sql!r})]
"""
NUMBERS = "CREATE TABLE numbers AS SELECT id, reference::integer AS n FROM orders"
PROGRAM = "COPY orders TO PROGRAM 'true'"
SEEN = (
    "SELECT (SELECT string_agg(name || applied, ',' ORDER BY id) FROM django_migrations) || (SELECT count(*) FROM orders) || "
    "(SELECT string_agg(relname, ',' ORDER BY relname) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace)"
)


class Rehearsing:
    """The app with its code read-only in the project's folder, and settings that insist on TLS."""

    def __init__(self, made: Managed) -> None:
        self.made = made

    def write(self, settings: str = INSISTS, **environment: str) -> None:
        self.made.write()
        (self.made.folder / "app/settings.py").write_text(settings)
        path = self.made.folder / "compose.yaml"
        project = json.loads(path.read_text())
        api = project["services"]["api"]
        api["volumes"] = [f"{self.made.folder}/app:/app:ro", f"{self.made.folder}/site:/site:ro"]
        api["environment"].update(environment)
        path.write_text(json.dumps(project))

    def __call__(self, check: bool = False, **more: Any) -> dict[str, Any]:
        known = {
            "state": "rehearsed", "project_src": str(self.made.folder), "service": "api", "manage_py": "manage.py",
            "dest": str(self.made.dest), "state_dir": str(self.made.folder / "state"), "memory": "384M", "io_rate": "0", "min_free": "0",
            "timeout": 300.0, "contract": "next", "client_image": IMAGE,
        }  # fmt: skip
        result = rehearse({**known, **more}, check)
        assert PASSWORD not in json.dumps(result) and self.left_behind() == []
        return result

    def left_behind(self) -> list[str]:
        mine = f"label=evenkeel.scratch={NAME}"
        found = [
            run(["docker", *what, "--filter", mine]).split()
            for what in (["ps", "-aq"], ["network", "ls", "-q"], ["volume", "ls", "-q"])
        ]
        return [one for each in found for one in each] + [
            str(p) for p in (self.made.folder / "state/rehearsals").glob("*")
        ]

    @contextlib.contextmanager
    def migration(self, sql: str) -> Iterator[None]:
        path = self.made.folder / "app/shop/migrations/0002_two.py"
        path.write_text(MIGRATION.format(sql=sql))
        try:
            yield
        finally:
            path.write_text(FILES["shop/migrations/0002_two.py"])


def _linked(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


@pytest.fixture
def app(fresh: Managed) -> Iterator[Rehearsing]:
    """The app with a backup of its database."""
    if not (fresh.folder / "site").exists():
        shutil.copytree(django_site("5.2"), fresh.folder / "site", copy_function=_linked)
        assert offer_tls(Server(SERVER, "postgres", "postgres"))
        assert eventually(lambda: fresh.sql("SHOW ssl") == "on")
    made = Rehearsing(fresh)
    made.write()
    assert fresh()["changed"]
    yield made
    assert made.left_behind() == []


def test_it_goes_well_on_its_rows_and_what_fails_on_them_is_caught(app: Rehearsing) -> None:
    before = app.made.sql(SEEN)
    assert "would rehearse on shop-" in app(check=True)["msg"]
    good = app()
    assert not good.get("failed"), good["msg"]
    assert [m["name"] for m in good["rehearsal"]["migrations"] if m["step"] == "expanded"] == ["0002_two"]
    assert len(good["rehearsal"]["backups"]) == 1 and good["rehearsal"]["restored_in"] > 0
    with app.migration(NUMBERS):
        wrong = app()
    said = " ".join(wrong["msg"].split())
    assert wrong["failed"] and "shop.0002_two failed" in said and "invalid input syntax" in said, said
    assert "production was not touched" in said
    assert app.made.sql(SEEN) == before


def test_the_apps_role_may_no_more_there_than_in_production(app: Rehearsing) -> None:
    with app.migration(PROGRAM):
        wrong = app()
    assert wrong["failed"] and "permission denied" in wrong["msg"], wrong["msg"]


def test_an_address_is_found_where_a_variable_has_it_and_told_where_none_has(app: Rehearsing) -> None:
    address = run(
        ["docker", "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", SERVER]
    ).strip()
    app.write(DB_HOST=address)
    # Backups of a server under another name are another's.
    with pytest.raises(BadInput, match="no proven backup of shop"):
        app()
    assert app.made()["changed"]
    good = app()
    assert not good.get("failed"), good["msg"]
    app.write(INSISTS.replace(f'os.environ.get("DB_HOST", "{HOST}")', f'"{address}"'))
    wrong = app()
    assert wrong["failed"] and f"is at {address}" in wrong["msg"] and "DB_HOST" in wrong["msg"], wrong["msg"]


def test_an_image_that_is_no_server_and_one_that_cannot_be_pulled_are_told(app: Rehearsing) -> None:
    with pytest.raises(BadInput) as caught:
        app(client_image=NOWHERE)
    assert "cannot be pulled" in caught.value.message() and f"docker pull {NOWHERE}" in caught.value.message()
    other = app(client_image="evenkeel/redis:8")
    assert other["failed"] and "production was not touched" in other["msg"], other["msg"]


def test_an_update_rehearses_it_before_it_migrates(app: Rehearsing) -> None:
    update = App(app.made)  # type: ignore[arg-type]
    try:
        more = {
            "app_name": NAME,
            "backup_connection": {"client_image": IMAGE},
            "update_rehearse": True,
            "update_rehearsal": {"min_free": "0"},
        }
        with app.migration(NUMBERS):
            output = update.update(**more)
        assert output.startswith("2 ") and "in the rehearsal on shop-" in output, output[-3000:]
        assert app.made.sql("SELECT count(*) FROM django_migrations") == "1"
        output = update.update(**more)
        assert output.startswith("0 ") and "rehearsed on shop-" in output, output[-3000:]
        assert app.made.sql("SELECT count(*) FROM django_migrations") == "2"
    finally:
        shutil.rmtree(update.root, ignore_errors=True)
