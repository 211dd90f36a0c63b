# SPDX-License-Identifier: GPL-3.0-or-later
"""Hotfixes of the database of a real shop: under load, in somebody's way, killed, and back."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.calls import hotfix_database
from tests.bed.killed_playbook import kill_when
from tests.bed.killed_roll import QUICK
from tests.bed.nothing_lost import assert_nothing_lost
from tests.bed.shop import Shop, deployed, run, succeeded

# What a database alone shows is in test_hotfix_database_server.py, the first of it in every run.
#: What production has before: a view and a trigger over the table that every order is written to.
BEFORE = """
CREATE FUNCTION tours_days(t integer) RETURNS integer LANGUAGE sql STABLE AS 'SELECT 1';
CREATE VIEW tours_busy AS SELECT tour_id, count(*) AS orders FROM tours_order GROUP BY tour_id;
CREATE FUNCTION tours_stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER tours_stamped BEFORE INSERT ON tours_order FOR EACH ROW EXECUTE FUNCTION tours_stamp();
"""
FUNCTION = "CREATE OR REPLACE FUNCTION tours_days(t integer) RETURNS integer LANGUAGE sql STABLE AS 'SELECT 2';\n"
VIEW = (
    "CREATE OR REPLACE VIEW tours_busy AS SELECT tour_id, count(*) AS orders, max(created_at) AS last FROM tours_order "
    "GROUP BY tour_id;\n"
)
TRIGGER = (
    "DROP TRIGGER tours_stamped ON tours_order;\n"
    "CREATE TRIGGER tours_stamped AFTER INSERT OR UPDATE ON tours_order FOR EACH ROW EXECUTE FUNCTION tours_stamp();\n"
)
KINDS = {"function": FUNCTION, "view": VIEW, "trigger": TRIGGER}


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    with deployed("hotfix-database", {"app_services": QUICK}) as made:
        sql(made, BEFORE)
        yield made


def psql(shop: Shop) -> list[str]:
    return [
        "docker",
        "exec",
        "-i",
        shop.container("db"),
        "psql",
        "-XqAt",
        "-v",
        "ON_ERROR_STOP=1",
        "-U",
        "shop",
        "-d",
        "shop",
    ]


def sql(shop: Shop, text: str) -> str:
    """What statements print, each in a transaction of its own."""
    return run(psql(shop), input=text).strip()


def schema(shop: Shop) -> str:
    """Everything that a dump tells but rows."""
    text = run(["docker", "exec", shop.container("db"), "pg_dump", "-U", "shop", "-s", "shop"])
    return "\n".join(line for line in text.splitlines() if "restrict" not in line)


def write(shop: Shop, text: str) -> str:
    """The file of a developer."""
    path = shop.folder / "fix.sql"
    path.write_text(text, encoding="utf-8")
    return str(path)


def fix(shop: Shop, text: str = "", check_mode: bool = False, **given: Any) -> dict[str, Any]:
    """The module itself, without a playbook around it."""
    files = [{"path": "fix.sql", "content": base64.b64encode(text.encode()).decode()}] if text else []
    params = {"path": str(shop.root), "files": files, "state": "applied", "service_options": QUICK, "django_service": "api",
              "lock_timeout": 2.0, "retries": 5, "statement_timeout": 5.0, "timeout": 120.0, **given}  # fmt: skip
    return hotfix_database.call(params, check_mode)


@contextmanager
def held(shop: Shop, statement: str) -> Iterator[None]:
    """Somebody's transaction that has done something and does not end."""
    with subprocess.Popen(psql(shop), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin and other.stdout
        other.stdin.write(f"BEGIN; {statement}; SELECT 'held';\n")
        other.stdin.flush()
        while other.stdout.readline() != "held\n":
            assert other.poll() is None
        try:
            yield
        finally:
            other.stdin.close()
            other.wait(30)


def test_under_load_each_kind_is_applied_and_comes_back(shop: Shop) -> None:
    before, ids = schema(shop), sorted(i["Id"] for i in shop.inspections())
    seconds = []
    with shop.load() as load:
        for kind, text in KINDS.items():
            play = succeeded(shop.play(playbook="hotfix", hotfix_database=write(shop, text), hotfix_name=kind))
            assert schema(shop) != before and "rollback_hotfix=" + kind in play.flat, play.output[-3000:]
            assert (
                succeeded(shop.play(playbook="hotfix", hotfix_database=write(shop, text), hotfix_name=kind)).changed
                == 0
            )
            back = succeeded(shop.rollback(rollback_hotfix=kind))
            assert schema(shop) == before and back.changed > 0
            seconds += [play.seconds, back.seconds]
        # All of it at once, and its check.
        whole = FUNCTION + VIEW + TRIGGER
        told = fix(shop, whole, name="whole", check="SELECT tours_days(1) = 2 AND count(last) >= 0 FROM tours_busy")
        assert told["changed"] and fix(shop, name="whole", state="reverted")["changed"]
        result = load.stop()
    assert schema(shop) == before and sorted(i["Id"] for i in shop.inspections()) == ids and shop.leftovers() == []
    assert_nothing_lost(shop, load, result)
    print(
        f"\nevidence: hotfixes of the database: {result.total:,} requests, 0 failed, {min(seconds):.1f}-{max(seconds):.1f} s each"
    )


def test_a_lock_that_is_not_given_is_given_up_and_nobody_notices(shop: Shop) -> None:
    before = schema(shop)
    for statement, text in (("SELECT * FROM tours_busy", VIEW), ("SELECT 1 FROM tours_order LIMIT 1", TRIGGER)):
        with shop.load() as load, held(shop, statement):
            refused = shop.play(playbook="hotfix", hotfix_database=write(shop, text), hotfix_name="late")
            # Nobody has to be waited for by a function.
            assert fix(shop, FUNCTION, name="function")["changed"]
            result = load.stop()
        assert refused.returncode != 0 and "has worked with" in refused.flat_message, refused.output[-3000:]
        assert "nothing was touched" in refused.flat_message and fix(shop, name="function", state="reverted")["changed"]
        assert schema(shop) == before
        assert_nothing_lost(shop, load, result)


@pytest.mark.parametrize(
    ("text", "more", "expected"),
    [
        ("ALTER TABLE tours_order ADD note text", {}, "write a migration"),
        (f"{FUNCTION} UPDATE tours_tour SET price = 0", {}, "works on rows"),
        (f"{FUNCTION} COMMIT; DROP TABLE tours_heartbeat", {}, "one already"),
        ("\\! id", {}, "a command of psql"),
        ("CREATE VIEW v AS SELECT nothing FROM tours_order", {}, "does not exist"),
        (FUNCTION, {"hotfix_database_check": "SELECT tours_days(1) = 3"}, "the check is not true with it"),
        (FUNCTION, {"hotfix_media": {"a.txt": "/etc/hostname"}}, "go alone"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_left(
    shop: Shop, text: str, more: dict[str, Any], expected: str
) -> None:
    before = schema(shop)
    refused = shop.play(playbook="hotfix", hotfix_database=write(shop, text), hotfix_name="never", **more)
    assert refused.returncode != 0 and expected in refused.flat_message, refused.output[-3000:]
    assert "nothing was touched" in refused.flat_message and schema(shop) == before
    with pytest.raises(BadInput, match="no hotfix of the database is called never"):
        fix(shop, name="never", state="reverted")


def test_check_mode_changes_nothing_and_tells(shop: Shop) -> None:
    before = schema(shop)
    play = succeeded(
        shop.play("--check", "--diff", playbook="hotfix", hotfix_database=write(shop, VIEW), hotfix_name="foreseen")
    )
    assert "would be applied: view tours_busy" in play.flat and schema(shop) == before


def test_killed_in_its_step_the_same_command_ends_it_and_so_does_going_back(shop: Shop, tmp_path: Path) -> None:
    before, whole = schema(shop), FUNCTION + VIEW + TRIGGER
    given = {"playbook": "hotfix", "hotfix_database": write(shop, whole), "hotfix_name": "killed"}

    def inside(text: str) -> bool:
        return "Apply the SQL to the database" in text

    # Once while it waits for a lock, and once wherever it is then.
    with held(shop, "SELECT * FROM tours_busy"):
        kill_when(shop, tmp_path / "log", inside, **given)
    kill_when(shop, tmp_path / "again", inside, **given)
    succeeded(shop.play(**given))
    assert schema(shop) != before and succeeded(shop.play(**given)).changed == 0 and shop.leftovers() == []
    kill_when(shop, tmp_path / "back", inside, playbook="rollback", rollback_hotfix="killed")
    succeeded(shop.rollback(rollback_hotfix="killed"))
    assert schema(shop) == before and shop.leftovers() == []


def test_two_on_one_view_go_back_in_their_order_and_an_update_tells_of_them(shop: Shop) -> None:
    before = schema(shop)
    told = fix(shop, VIEW, name="one")
    assert told["migration_path"] == "tours/migrations/0003_hotfix_one.py" and "0002_first_tours" in told["migration"]
    fix(shop, VIEW.replace("max(created_at)", "min(created_at)"), name="two")
    refused = shop.rollback(rollback_hotfix="one")
    assert refused.returncode != 0 and "the hotfix two changed view public.tours_busy after one" in refused.flat_message
    assert "one, database" in succeeded(shop.play(playbook="status")).flat
    updated = succeeded(shop.update("v2"))
    assert "the hotfix two is in the database and in no migration yet" in updated.flat, updated.output[-4000:]
    # What the second lies on is told of that one.
    assert "the hotfix one is" not in updated.flat and "of the hotfix one is" not in updated.flat
    assert fix(shop, name="two", state="reverted")["changed"] and fix(shop, name="one", state="reverted")["changed"]
    assert schema(shop) == before


def test_the_migration_that_is_written_runs_where_the_hotfix_is(shop: Shop, tmp_path: Path) -> None:
    told = fix(shop, FUNCTION + VIEW + TRIGGER, name="merged")
    clone = tmp_path / "clone"
    run(["git", "clone", "--quiet", str(shop.repository), str(clone)])
    run(["git", "-C", str(clone), "checkout", "--quiet", "v2"])
    (clone / told["migration_path"]).write_text(told["migration"], encoding="utf-8")
    who = ["-c", "user.name=x", "-c", "user.email=x"]
    run(["git", "-C", str(clone), "add", "--all"])
    run(["git", "-C", str(clone), *who, "commit", "--quiet", "--message", "Merge the hotfix"])
    run(["git", "-C", str(clone), "push", "--quiet", "origin", "HEAD:refs/heads/merged"])
    with shop.load() as load:
        updated = succeeded(shop.update("merged"))
        result = load.stop()
    assert "the hotfix merged of the database is in the migrations now" in updated.flat, updated.output[-4000:]
    again = fix(shop, FUNCTION + VIEW + TRIGGER, name="again")
    assert again["changed"] is False and "was there already" in " ".join(again["notes"]) and shop.leftovers() == []
    assert_nothing_lost(shop, load, result)
