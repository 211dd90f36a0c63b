# SPDX-License-Identifier: GPL-3.0-or-later
"""An update is rehearsed on real rows: what fails on them alone is caught, and production has nothing of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import processes
from ansible_collections.evenkeel.deploy.plugins.module_utils.calls.update_rehearsal import call as rehearse
from demo.repository import add_commit
from tests.bed.migrated_shop import fill, sql
from tests.bed.shop import ROOT, Shop, run

ROWS = 100_000
SECRET = "never-told-5519"
_MIGRATION = """# SPDX-License-Identifier: GPL-3.0-or-later
from django.core.mail import send_mail
from django.db import migrations, models

evenkeel_phase = "before"


def reach_out(apps, schema_editor):
    from tours.tasks import confirm_order

    tour = apps.get_model("tours", "Tour").objects.first()
    apps.get_model("tours", "Tour").objects.create(name="rehearsed", place="-", days=1, price=1)
    for order in apps.get_model("tours", "Order").objects.all()[:5]:
        confirm_order.delay(order.pk)
    send_mail("rehearsed", str(tour), "shop@example.com", ["somebody@example.com"])


class Migration(migrations.Migration):
    dependencies = [("tours", "{after}")]
    operations = [{operations}]
"""
_NUMBERS = 'migrations.RunSQL("CREATE TABLE tours_numbers AS SELECT id, reference::integer AS n FROM tours_order")'
_NOTE = 'migrations.AddField("order", "note", models.CharField(max_length=80, null=True))'
_INDEX = 'migrations.AlterField("order", "email", models.EmailField(db_index=True, max_length=254))'
# A server for mail that is part of production: whoever connects is counted.
_SINK = """
import pathlib, socketserver
class Count(socketserver.StreamRequestHandler):
    def handle(self):
        with open("/tmp/mail", "a") as told:
            told.write("x")
socketserver.TCPServer.allow_reuse_address = True
pathlib.Path("/tmp/mail").write_text("")
socketserver.TCPServer(("0.0.0.0", 2525), Count).serve_forever()
"""
_CALL = "import socket; socket.create_connection(('celery', 2525), 5).close()"


def commit_versions(shop: Shop) -> None:
    """``wrong`` writes a row, sends tasks and a mail, and then takes references for numbers; ``right`` adds a column and an index."""
    settings = (ROOT / "demo/shop/shop/settings.py").read_text(encoding="utf-8")
    mail = (
        'EMAIL_HOST = os.environ.get("EMAIL_HOST", "celery")\nEMAIL_PORT = int(os.environ.get("EMAIL_PORT", "2525"))\n'
    )
    mail += 'EMAIL_BACKEND = os.environ.get("EMAIL_BACKEND", "django.core.mail.backends.smtp.EmailBackend")\n'
    files = {
        "shop/version.py": 'VERSION = "wrong"\n',
        "shop/settings.py": settings + mail,
        "tours/migrations/0003_reach.py": _MIGRATION.format(
            after="0002_first_tours", operations="migrations.RunPython(reach_out, migrations.RunPython.noop)"
        ),
        "tours/migrations/0004_numbers.py": _MIGRATION.format(after="0003_reach", operations=_NUMBERS),
    }
    add_commit(Path(shop.repository), files, "wrong", "v1")
    models = (ROOT / "demo/shop/tours/models.py").read_text(encoding="utf-8")
    field = "    email = models.EmailField()\n"
    assert field in models
    fields = "    email = models.EmailField(db_index=True)\n    note = models.CharField(max_length=80, null=True)\n"
    files = {
        "shop/version.py": 'VERSION = "right"\n',
        "tours/models.py": models.replace(field, fields, 1),
        "tours/migrations/0003_note.py": _MIGRATION.format(after="0002_first_tours", operations=f"{_NOTE}, {_INDEX}"),
    }
    add_commit(Path(shop.repository), files, "right", "v1")


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    made = Shop("rehearsal", {"backup_min_free": "0", "update_rehearsal": {"min_free": "0"}, "update_rehearse": True})
    made.destroy()
    try:
        made.create(f"PAYMENT_TOKEN={SECRET}\n")
        commit_versions(made)
        first = made.update("v1")
        assert first.returncode == 0, first.output[-6000:]
        fill(made, ROWS)
        run(["docker", "exec", "--detach", made.container("celery"), "python", "-c", _SINK])
        yield made
    finally:
        made.destroy()


def mails(shop: Shop) -> int:
    return len(run(["docker", "exec", shop.container("celery"), "cat", "/tmp/mail"]))


def seen(shop: Shop) -> dict[str, Any]:
    """Everything of production that a rehearsal could have touched."""
    tables = (
        "SELECT string_agg(relname, ',' ORDER BY relname) FROM pg_class WHERE relkind = 'r' AND relname LIKE 'tours%'"
    )
    broker = ["docker", "exec", shop.container("redis"), "redis-cli"]
    return {
        "containers": sorted(
            (i["Name"], i["Id"], i["State"]["StartedAt"], i["RestartCount"]) for i in shop.inspections()
        ),
        "migrations": sql(shop, "SELECT app || name || applied FROM django_migrations ORDER BY id"),
        "tours": sql(shop, "SELECT count(*), max(id) FROM tours_tour"),
        "orders": sql(shop, "SELECT count(*), max(id) FROM tours_order"),
        "confirmations": sql(shop, "SELECT count(*) FROM tours_orderconfirmation"),
        "tables": sql(shop, tables),
        "waiting tasks": run([*broker, "llen", "celery"]).strip(),
        "mails": mails(shop),
        "version": shop.version(),
    }


def left_behind(shop: Shop) -> list[str]:
    """What there still is of any rehearsal."""
    mine = f"label=evenkeel.scratch={shop.name}"
    found = []
    for listing in (["ps", "-aq"], ["volume", "ls", "-q"], ["network", "ls", "-q"]):
        found += run(["docker", *listing, "--filter", mine]).split()
    return found + [str(p) for p in shop.root.glob(".evenkeel/rehearsals/*")]


def foretold(shop: Shop, version: str) -> dict[str, Any]:
    """What the release's manifest has of its rehearsal."""
    known = [json.loads(p.read_text()) for p in shop.root.glob("releases/*/.evenkeel/manifest.json")]
    return next((m.get("rehearsal") or {} for m in known if m["version"] == version), {})


def test_what_fails_on_real_rows_alone_is_caught_and_production_has_nothing_of_it(shop: Shop) -> None:
    # The server for mail is there, and reached from production.
    run(["docker", "exec", shop.container("api"), "python", "-c", _CALL])
    before = seen(shop)
    assert before["mails"] == 1
    play = shop.update("wrong")
    assert play.returncode != 0, play.output[-6000:]
    for word in (
        "in the rehearsal on",
        "tours.0004_numbers failed",
        "invalid input syntax",
        "production was not touched",
    ):
        assert word in play.flat_message, play.output[-6000:]
    # Neither a row nor what is secret is quoted.
    assert "old-" not in play.message and SECRET not in play.output
    assert seen(shop) == before
    assert left_behind(shop) == [] and shop.leftovers() == []
    print(
        f"\nevidence: a migration that fails on {ROWS:,} real rows alone: caught in {play.seconds:.0f} s, production as it was"
    )


def rehearsing(shop: Shop) -> list[dict[str, Any]]:
    """The containers of a rehearsal that run now."""
    ids = run(["docker", "ps", "-q", "--filter", f"label=evenkeel.scratch={shop.name}"]).split()
    found: list[dict[str, Any]] = json.loads(run(["docker", "inspect", *ids])) if ids else []
    return found


def test_killed_in_the_middle_and_then_it_foretells_what_it_takes(shop: Shop) -> None:
    before = seen(shop)
    found: list[dict[str, Any]] = []

    def migrates() -> bool:
        now = rehearsing(shop)
        found.extend(now)
        return any(i["Config"]["Labels"].get("com.docker.compose.oneoff") == "True" for i in now)

    begun = subprocess.Popen(
        shop.playbook_argv(update_version="right"), cwd=ROOT, env=shop.environment,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while not migrates():
            assert begun.poll() is None, "it was over before"
            time.sleep(0.05)
    finally:
        begun.kill()
        begun.wait(10)
    # The module lives on without the playbook: it is what has to die.
    working = json.loads((shop.root / ".evenkeel/lock").read_text())["process"]["pid"]
    for one in processes.tree(working):
        with contextlib.suppress(ProcessLookupError):
            os.kill(one.pid, signal.SIGKILL)
    assert seen(shop) == before and left_behind(shop) != []
    for one in found:
        text = json.dumps(one["Config"])
        assert SECRET not in text and "change-me" not in text, one["Name"]
        assert one["HostConfig"]["Memory"] > 0 and one["HostConfig"]["PidsLimit"] > 0
        networks = one["NetworkSettings"]["Networks"]
        assert not any(n.startswith(f"{shop.name}_") for n in networks)
    play = shop.update("right")
    assert play.returncode == 0 and shop.version() == "right", play.output[-6000:]
    assert left_behind(shop) == [] and shop.leftovers() == []
    told = foretold(shop, "right")
    assert {r["path"]: r["status"] for r in told["requests"]} == {"/health/": 200, "/": 200, "/api/tours/": 200}
    assert "PAYMENT_TOKEN" not in told["withheld"]  # it was told another one
    (note,) = [m for m in told["migrations"] if m["name"] == "0003_note" and m["step"] == "expanded"]
    assert note["seconds"] > 0 and note["real_seconds"] > 0
    assert "foretold" in play.output and "taken" in play.output
    print(f"\nevidence: {note['name']} on {ROWS:,} rows: {note['seconds']:.2f} s foretold, {note['real_seconds']:.2f} s taken; "
          f"rehearsed in {told['seconds']:.0f} s")  # fmt: skip
    # A second run has nothing to rehearse.
    again = shop.update("right")
    assert (again.returncode, again.changed) == (0, 0), again.output[-4000:]


def call(shop: Shop, folder: Path, check: bool = False, **more: Any) -> dict[str, Any]:
    """One call of the module for the release that serves, under a lock of its own."""
    known = {
        "state": "rehearsed", "project_src": str((shop.root / "current").resolve()), "service": "api", "manage_py": "manage.py",
        "dest": str(shop.root / "backups"), "state_dir": str(folder), "memory": "512M", "io_rate": "0", "min_free": "0",
        "timeout": 900.0, "contract": "next", "prove": [{"path": "/api/tours/"}],
    }  # fmt: skip
    return rehearse({**known, **more}, check)


def test_it_goes_well_or_is_refused_before_anything_is_made_or_is_given_up_where_it_takes_too_long(
    shop: Shop, tmp_path: Path
) -> None:
    looked = call(shop, tmp_path, check=True)
    assert "would rehearse on shop-" in looked["msg"] and looked["changed"] is False
    for more, words in (
        ({"dest": str(tmp_path)}, "evenkeel.deploy.backup makes one"),
        ({"min_free": "900T"}, "are to be left"),
        ({"memory": "900T"}, "MiB of memory are available"),
    ):
        with pytest.raises(BadInput) as caught:
            call(shop, tmp_path, **more)
        assert words in caught.value.message()
    assert "there is none yet" in call(shop, tmp_path, check=True, dest=str(tmp_path))["msg"]
    assert left_behind(shop) == []
    good = call(shop, tmp_path)
    assert [r["status"] for r in good["rehearsal"]["requests"]] == [200, 200], good["msg"]
    assert left_behind(shop) == []
    late = call(shop, tmp_path, timeout=3.0)
    assert late["failed"] and "longer than it may" in late["msg"], late["msg"]
    assert left_behind(shop) == [] and not (tmp_path / "rehearsals").exists()


def test_what_does_not_answer_as_it_should_fails_it(shop: Shop, tmp_path: Path) -> None:
    wrong = call(shop, tmp_path, prove=[{"path": "/"}, {"path": "/not-there/"}])
    assert wrong["failed"] and "GET /not-there/ answered 404" in wrong["msg"], wrong["msg"]
    assert left_behind(shop) == []
