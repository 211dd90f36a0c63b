# SPDX-License-Identifier: GPL-3.0-or-later
"""One database and several hosts: the first that migrates it has it, and every other is refused until it takes it over."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations.database_host import Host
from tests.bed.shop import run
from tests.database.migrations.forked import WarmDjango
from tests.database.migrations.operations import CREATE, NOTE
from tests.database.migrations.running import Projects, Running
from tests.database.postgres_server import Postgres

FIRST = Host("engine-1", "web-1", "travel")
SECOND = Host("engine-2", "web-2", "travel")
ROW = "SELECT detail, release FROM evenkeel_migrations WHERE app = '' AND name = 'host'"
# Whoever connects is this role from then on, which is no superuser.
AS_LIMITED = 'DATABASES["default"]["OPTIONS"] = {"options": "-c role=limited"}'


@pytest.fixture
def project(tmp_path: Path, warm: Callable[[str], WarmDjango], postgres: Postgres) -> Running:
    """A database at r0, which serves on the first host."""
    made = Running(tmp_path / "project", warm("5.2"), postgres, "shop")
    made.migration("0001_initial", CREATE)
    made.start()
    made.serving, made.host = ("r0",), FIRST
    return made


def claimed(project: Running, database: str = "planned") -> tuple[str, str, str]:
    """Engine, machine and project that have it."""
    ((detail, _release),) = project.rows(ROW, database)
    return tuple(json.loads(detail)[key] for key in ("engine", "name", "project"))


def limited(project: Running, *statements: str) -> None:
    """Let the app be a role that may only do what statements allow."""
    for statement in (
        "DO $$ BEGIN CREATE ROLE limited; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO limited",
        *statements,
    ):
        project.sql(statement, "planned")
    project.more = AS_LIMITED
    project.settle()


def test_another_host_is_refused_by_every_state_and_learns_what_to_run(project: Running) -> None:
    project.migration("0002_note", NOTE, "0001_initial")
    assert not project.expand("r1").get("failed")
    before = project.rows(ROW)
    project.host = SECOND
    for state in ("planned", "expanded", "migrated", "contracted", "abandoned"):
        said = project.refused(state, "r2")
        assert "the database planned belongs to the project travel on web-1, which changed it last at 20" in said
        assert "Now: nothing was touched" in said and "-e app_database_take_over=web-1/travel" in said
    assert project.rows(ROW) == before
    project.host = FIRST
    again = project.expand("r1")
    assert not again["changed"] and not again["due"]


def test_a_version_without_migrations_claims_it_as_well_and_once(project: Running) -> None:
    seen = project.plan_of("r0")
    assert seen["due"] and not seen["changes"]
    assert project.rows("SELECT to_regclass('evenkeel_migrations')") == [(None,)], "a look has written"
    assert project.order("expanded", "r0")[0]["databases"][0]["unfinished"]
    done = project.expand("r0")
    assert not done.get("failed") and not done["changed"] and claimed(project) == ("engine-1", "web-1", "travel")
    assert not project.plan_of("r0")["due"] and project.ledger() == []
    assert not project.order("expanded", "r0")[0]["databases"][0]["unfinished"]
    project.host = SECOND
    assert "web-1/travel" in project.refused("planned", "r0")


def test_of_two_at_the_same_time_one_has_it(project: Running) -> None:
    orders = []
    for host in (FIRST, SECOND):
        project.host = host
        orders.append(project.order("expanded", "r0")[0])
    processes = [project.begin(order) for order in orders]
    answers = [json.loads(p.communicate()[0].rpartition("EVENKEEL ")[2])["databases"][0] for p in processes]
    errors = [(answer.get("error") or {}).get("kind", "") for answer in answers]
    assert sorted(errors) == ["", "host"]
    assert claimed(project)[0] == ("engine-1", "engine-2")[errors.index("")]


def test_who_comes_second_runs_nothing_of_what_was_judged_before(project: Running) -> None:
    project.migration("0002_note", NOTE, "0001_initial")
    project.host = SECOND
    late = project.order("expanded", "r1")[0]
    (project.folder / "shop/migrations/0002_note.py").unlink()
    project.host = FIRST
    project.expand("r0")
    project.migration("0002_note", NOTE, "0001_initial")
    process = project.begin(late)
    told = json.loads(process.communicate()[0].rpartition("EVENKEEL ")[2])["databases"][0]
    assert told["error"]["kind"] == "host" and told["ran"] == []
    assert project.recorded() == ["0001_initial"] and "note" not in project.columns()


def test_it_is_taken_over_from_the_host_that_is_named_and_from_no_other(project: Running) -> None:
    project.expand("r0")
    project.host = SECOND
    assert "web-1/travel" in project.refused("expanded", "r0", take_over_from="web-3/travel")
    assert not project.expand("r0", take_over_from="web-1/travel").get("failed")
    assert claimed(project) == ("engine-2", "web-2", "travel")
    assert not project.expand("r0").get("failed"), "it is asked for once"
    project.host = FIRST
    # The same inventory may say it for ever.
    assert "web-2/travel" in project.refused("expanded", "r0", take_over_from="web-1/travel")


def test_a_restored_copy_belongs_to_who_migrates_it_first(project: Running, postgres: Postgres) -> None:
    project.expand("r0")
    postgres.make("planned_copy")
    dump = "pg_dump -U postgres planned | psql -qU postgres -v ON_ERROR_STOP=1 planned_copy"
    run(["docker", "exec", postgres.container, "sh", "-ec", dump])
    project.databases["default"], project.host = "planned_copy", SECOND
    project.settle()
    assert not project.expand("r0").get("failed")
    assert claimed(project, "planned_copy")[0] == "engine-2" and claimed(project)[0] == "engine-1"


def test_a_backup_put_back_into_the_same_database_brings_the_claim_back(project: Running, postgres: Postgres) -> None:
    project.expand("r0")
    dump = "pg_dump -U postgres --clean planned > /tmp/claimed.sql; psql -qU postgres -f /tmp/claimed.sql planned"
    run(["docker", "exec", postgres.container, "sh", "-ec", dump])
    assert not project.plan_of("r0")["due"]
    project.host = SECOND
    assert "web-1/travel" in project.refused("expanded", "r0")


def test_a_machine_that_is_called_otherwise_is_the_same(project: Running) -> None:
    project.expand("r0")
    project.host = Host("engine-1", "prod-1", "travel")
    assert not project.expand("r0").get("failed") and claimed(project)[1] == "prod-1"


def test_another_project_of_this_host_has_it_as_long_as_it_has_containers(project: Running) -> None:
    project.expand("r0")
    project.host, project.engine = Host("engine-1", "web-1", "trips"), Projects("travel")
    assert "the project travel on this host" in project.refused("expanded", "r0")
    project.engine = Projects()
    assert not project.expand("r0").get("failed") and claimed(project)[2] == "trips"


def test_every_database_is_claimed_but_one_in_which_nothing_is_migrated(
    tmp_path: Path, warm: Callable[[str], WarmDjango], postgres: Postgres
) -> None:
    made = Running(tmp_path / "two", warm("5.2"), postgres, "shop", east="planned_east", theirs="planned_theirs")
    made.more = "from routing import Router\nDATABASE_ROUTERS = [Router()]"
    (made.folder / "routing.py").write_text(
        "class Router:\n    def allow_migrate(self, db, app, **hints):\n        return False if db == 'theirs' else None\n"
    )
    made.settle()
    made.migration("0001_initial", CREATE)
    made.start(databases=("default", "east", "theirs"))
    made.serving, made.host = ("r0",), FIRST
    made.expand("r0")
    assert claimed(made) == claimed(made, "planned_east") == ("engine-1", "web-1", "travel")
    assert made.rows("SELECT to_regclass('evenkeel_migrations')", "planned_theirs") == [(None,)]
    made.sql("DELETE FROM evenkeel_migrations", "planned")
    made.host = SECOND
    assert "the database planned_east belongs" in made.refused("expanded", "r0")


def test_a_role_that_may_make_no_table_updates_as_before(project: Running) -> None:
    limited(project)
    assert not project.plan_of("r0")["due"]
    assert not project.expand("r0").get("failed")


def test_a_server_that_keeps_its_identifier_to_itself(project: Running, postgres: Postgres) -> None:
    limited(
        project,
        "GRANT CREATE ON SCHEMA public TO limited",
        "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC",
    )
    project.expand("r0")
    assert '"database": "table ' in project.rows(ROW)[0][0]
    project.host = SECOND
    assert "web-1/travel" in project.refused("expanded", "r0")


def test_who_may_only_read_the_claim_is_refused_too_and_claims_nothing(project: Running) -> None:
    project.expand("r0")
    limited(project, "REVOKE INSERT, UPDATE ON evenkeel_migrations FROM limited")
    project.host = Host("engine-1", "prod-1", "travel")
    assert not project.plan_of("r0")["due"]
    project.host = SECOND
    assert "web-1/travel" in project.refused("expanded", "r0")
