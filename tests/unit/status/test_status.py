# SPDX-License-Identifier: GPL-3.0-or-later
"""From what was seen of an app to what is said, and to the command that is run next."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.clock import Moment, Process
from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host.clock import identity, now
from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host.files import write_private
from ansible_collections.evenkeel.deploy.plugins.module_utils.calls.deploy_info import call as deploy_info
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation import lease
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.host.journal import Keeper
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.lease import Lock, Operation
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.host.image_archive import Archive
from ansible_collections.evenkeel.deploy.plugins.module_utils.status import findings
from ansible_collections.evenkeel.deploy.plugins.module_utils.status.findings import (
    Container,
    Holder,
    RollbackTarget,
    Seen,
    Service,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.status.host import store
from ansible_collections.evenkeel.deploy.plugins.module_utils.status.host.status import (
    made_by_others,
    of_no_job,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.status.text import text

TO_V2 = Operation("update", "travel", "v2")
RELEASE = {"id": "20260101T000000Z-1111111", "revision": "1" * 40, "version": "v1", "state": "verified"}
UPDATE_V2 = "ansible-playbook evenkeel.deploy.update -e update_version=v2"


def seen(**more: Any) -> Seen:
    return Seen("travel", **{"release": RELEASE, "rollback_target": RollbackTarget("r", "2" * 40, "v0"), **more})


def held(**more: Any) -> Holder:
    process = more.pop("process", None)
    lock = Lock(3, "20260101T000000Z-update-0123456789", TO_V2, "anna@laptop", process=process)
    return Holder(lock, **{"left": 1700.0, "quiet": 5.0, **more})


def record(result: str, run: str = "20260101T000000Z-update-0123456789", **more: Any) -> dict[str, Any]:
    return {
        "run": run,
        "playbook": "update",
        "target": "v2",
        "who": "anna",
        "started": "then",
        "result": result,
        **more,
    }


def verdict(one: Seen) -> tuple[str, str]:
    found = findings.findings(one)
    return findings.state_of(found, one), findings.next_command(found)


def test_tasks_that_are_kept_aside_are_told() -> None:
    (found,) = [f for f in findings.findings(seen(aside={"tours.voucher": 3})) if f.about == "tasks"]
    assert found.level == findings.NOTE and "3 of tours.voucher" in found.what and "puts them back" in found.next


def test_a_gap_that_is_open_is_told_with_the_command_that_ends_it() -> None:
    one = seen(gap={"migrations": ["tours.0003_beats"], "stores": []})
    (found,) = [f for f in findings.findings(one) if f.about == "gap"]
    assert found.level == findings.ACT and "migrations tours.0003_beats" in found.what
    assert verdict(one)[1] == findings.again(one) != ""
    # Whose run was killed says better what to run.
    killed = seen(gap={"migrations": ["tours.0003_beats"]}, holder=held(process=DEAD), records=[record("")])
    assert verdict(killed) == ("unfinished", UPDATE_V2)
    assert [f for f in findings.findings(killed) if f.about == "gap" and f.next == UPDATE_V2]


def test_old_containers_that_go_on_running_are_no_leftovers_until_their_time_is_over() -> None:
    two = Service("api", "web", "shop", 1, (Container("shop-api-1", "running", outdated="runs another image"),
                                            Container("shop-api-2", "running")))  # fmt: skip
    kept = seen(services=[two], spares=["shop-api-1"], spared_until="21:10 UTC")
    (found,) = [f for f in findings.findings(kept) if f.about == "way back" and "shop-api-1" in f.what]
    assert verdict(kept) == ("fine", "") and found.next == "ansible-playbook evenkeel.deploy.rollback"
    overdue = seen(services=[two], spares=["shop-api-1"], spared_until="21:10 UTC", overdue=True)
    assert verdict(overdue) == ("attention", findings.again(overdue))
    assert verdict(seen(services=[two]))[0] == "attention"


def test_nothing_to_say_of_what_is_well() -> None:
    assert verdict(seen()) == ("fine", "")
    assert [f for f in findings.findings(seen()) if f.level == "act"] == []


DEAD, ALIVE = Process(4, 5, "b"), Process(6, 7, "b")


@pytest.mark.parametrize(
    ("holder", "expected"),
    [
        (held(process=ALIVE, alive=True), ("running", "")),
        # Between two tasks nothing lives: nobody can tell, and the advice says so.
        (held(), ("running", "")),
        (held(process=DEAD), ("unfinished", UPDATE_V2)),
        (held(left=0.0), ("unfinished", UPDATE_V2)),
        (held(rebooted=True), ("unfinished", UPDATE_V2)),
    ],
)
def test_whose_turn_it_is(holder: Holder, expected: tuple[str, str]) -> None:
    one = seen(holder=holder, records=[record("")])
    assert verdict(one) == expected
    if expected[0] == "running" and not holder.alive:
        (finding,) = [f for f in findings.findings(one) if f.about == "lock"]
        assert UPDATE_V2 in finding.next and "wait" in finding.next


def test_a_way_back_that_has_not_ended_comes_first() -> None:
    pending_undo = record("interrupted", goal="undo", reason="never ready", before={"revision": "3" * 40})
    state, command = verdict(seen(pending_undo=pending_undo, records=[pending_undo], leftovers=["pin in nginx"]))
    assert state == "unfinished" and command.startswith(UPDATE_V2) and "way back" in command
    # While somebody works on just that it is theirs.
    assert (
        verdict(seen(pending_undo=pending_undo, records=[pending_undo], holder=held(process=ALIVE, alive=True)))[0]
        == "running"
    )


def test_an_operation_that_another_one_took_the_lock_from_stays_unfinished() -> None:
    backup = "20260102T000000Z-backup-0123456789"
    heir = "20260102T000000Z-update-0123456789"
    assert verdict(seen(records=[record("interrupted", taken_over_by=backup)])) == ("unfinished", UPDATE_V2)
    # A successor of the same kind that found nothing left to do leaves no record.
    assert verdict(seen(records=[record("interrupted", taken_over_by=heir)])) == ("fine", "")
    assert verdict(seen(records=[record("ok", heir), record("interrupted", taken_over_by=heir)])) == ("fine", "")
    assert verdict(seen(records=[record("failed", heir), record("interrupted", taken_over_by=heir)])) == ("fine", "")


@pytest.mark.parametrize(
    ("playbook", "target", "command"),
    [
        ("update", "main", "ansible-playbook evenkeel.deploy.update -e update_version=main"),
        ("rollback", "the release before", "ansible-playbook evenkeel.deploy.rollback"),
        ("rollback", "v1", "ansible-playbook evenkeel.deploy.rollback -e rollback_to=v1"),
        ("restore", "a.dump", "ansible-playbook evenkeel.deploy.restore -e restore_backup=a.dump"),
        ("hotfix", "hotfix/16.03", "ansible-playbook evenkeel.deploy.hotfix -e hotfix_ref=hotfix/16.03"),
        ("hotfix", "hotfix_files=a.py,b c", "ansible-playbook evenkeel.deploy.hotfix -e 'hotfix_files=a.py,b c'"),
        (
            "hotfix",
            "hotfix_finish=true hotfix_name=a",
            "ansible-playbook evenkeel.deploy.hotfix -e 'hotfix_finish=true hotfix_name=a'",
        ),
        ("hotfix", "rollback_hotfix=a", "ansible-playbook evenkeel.deploy.rollback -e rollback_hotfix=a"),
        ("hotfix", "hotfix_media=a.jpg", "ansible-playbook evenkeel.deploy.hotfix with the same hotfix_media"),
        ("backup", "", "ansible-playbook evenkeel.deploy.backup"),
        ("manual", "x", ""),
        ("compose_rolling", "", ""),
        ("$(x)", "x", ""),
    ],
)
def test_each_operation_is_finished_by_its_own_command(playbook: str, target: str, command: str) -> None:
    assert findings.command_of(playbook, target) == command


@given(st.text(min_size=1))
def test_no_name_gets_out_of_its_word(target: str) -> None:
    assert shlex.split(findings.command_of("update", target))[3:] == [f"update_version={target}"]


def test_what_should_run_and_does_not() -> None:
    good = Container("api-1", "running", "healthy", image="i")
    bad = Container("api-2", "exited", exit_code=3)
    services = [
        Service("api", "web", "x", 2, (good, bad)),
        Service("celery", "worker", "x", 1, (Container("c-1", "running", outdated="runs image a"),)),
        Service("build", "job", "x", 0, (Container("b-1", "exited"),)),
    ]
    told = [f"{f.about}: {f.what}" for f in findings.findings(seen(services=services)) if f.level == "act"]
    assert told == [
        "services: api: 1 of 2 run",
        "services: api: api-2 is exited with code 3",
        "images: celery: c-1 runs image a",
    ]
    # In the middle of an operation this is how it goes.
    assert verdict(seen(services=services, holder=held(process=ALIVE, alive=True))) == ("running", "")


def test_what_the_old_folder_has_put_in_place_of_a_release_is_told_with_the_update_that_mends_it() -> None:
    old = [
        Container(f"{s}-1", "running", since="2026-01-01T04:00:00Z", outdated="runs image a", old_folder="/home/app")
        for s in ("api", "celery")
    ]
    same = Container("nginx-1", "running", since="2026-01-01T04:00:02Z", old_folder="/home/app")
    services = [Service(c.name[:-2], "web", "x", 1, (c,)) for c in (*old, same)]
    found = [f for f in findings.findings(seen(services=services)) if f.about == "old folder"]
    (only,) = found
    assert "run in /home/app" in only.what and "made api, celery, nginx anew" in only.what and "04:00" in only.what
    assert only.next == findings.again(seen()) and "adopt_stop_sign=true" in only.what
    assert findings.next_command(findings.findings(seen(services=services))) == only.next
    # What that update leaves as it is, is as it should be.
    assert not [f for f in findings.findings(seen(services=services[2:])) if f.level == findings.ACT]


def test_edits_are_told_apart() -> None:
    def edit(path: str, change: str = "changed", at_start: bool = False, why: str = "") -> dict[str, Any]:
        return {"path": path, "change": change, "at_start": at_start, "why": why}

    edits = [
        {
            "where": "api-1",
            "differences": [edit("/app/a.py"), edit("/etc/x", at_start=True), edit("/big", "unread", why="large")],
        },
        {"where": "db-1", "differences": [], "unseen": "away"},
    ]
    found = [(f.level, f.what) for f in findings.findings(seen(edits=edits)) if f.about == "drift"]
    assert found == [
        ("act", "api-1: /app/a.py changed by hand"), ("note", "api-1: /etc/x changed as it started"),
        ("note", "api-1: 1 not compared (/big: large)"), ("note", "db-1: away"),
    ]  # fmt: skip


def test_what_is_missing_of_the_way_back_and_of_the_database() -> None:
    missing = seen(
        rollback_target=RollbackTarget("r", "2" * 40, "v0", ("api: the image x is not on this host any more",))
    )
    # Nobody is told to go back only because he could not.
    assert verdict(missing)[0] == "attention" and "ansible-playbook" not in verdict(missing)[1]
    # What a rollback loads by itself is no reason to do anything.
    archived = seen(
        rollback_target=RollbackTarget(
            "r", "2" * 40, "v0", archived=("api: the image x is in the archive of the release alone",)
        )
    )
    assert verdict(archived)[0] == "fine" and "loaded from there" in str(findings.findings(archived))
    assert "in the archive" in "\n".join(text(archived))
    pending = seen(migrations={"pending": 2, "open": [], "msg": "two"})
    assert verdict(pending) == ("attention", f"ansible-playbook evenkeel.deploy.update -e update_version={'1' * 12}")
    waiting = seen(migrations={"pending": 0, "open": [{"operation": "remove field", "waits_for": "api-1"}]})
    assert verdict(waiting)[0] == "fine" and "they wait for this: api-1" in str(findings.findings(waiting))


def test_what_an_archive_has_is_there_in_its_length_alone(tmp_path: Path) -> None:
    assert store.archived_of(str(tmp_path)) == set()
    archive = Archive(str(tmp_path))
    Path(archive.folder).mkdir(parents=True)
    for number, written in ((1, b"whole"), (2, b"cut")):
        image = f"sha256:{str(number) * 64}"
        file = f"{image[7:31]}.tar.gz"
        archive.note(file, {"image": image, "names": [f"api:{number}"], "bytes": 5, "sha256": ""})
        Path(archive.path(file)).write_bytes(written)
    assert store.archived_of(str(tmp_path)) == {"api:1"}


def test_a_backup_is_told_with_what_it_is_from_before() -> None:
    one = {"name": "shop-1.dump", "bytes": 2**20, "proven": "read", "releases": ["r-2"], "started": ""}
    lines = "\n".join(text(seen(backups=[one, {**one, "name": "shop-0.dump", "releases": None}])))
    assert "shop-1.dump  1" in lines and "read, from before r-2" in lines and lines.count("from before") == 1


def test_a_full_disk_is_said() -> None:
    assert verdict(seen(disks=[{"path": "/", "free": 2**20, "size": 2**40}]))[0] == "attention"


holders = st.sampled_from([Holder(), held(), held(process=DEAD), held(process=ALIVE, alive=True), held(rebooted=True)])
pieces = st.fixed_dictionaries(
    {},
    optional={
        "holder": holders,
        "records": st.lists(
            st.sampled_from([record(""), record("ok"), record("failed"), record("interrupted")]), max_size=3
        ),
        "pending_undo": st.sampled_from([{}, record("failed", goal="undo")]),
        "leftovers": st.lists(st.text(max_size=5), max_size=2),
        "unseen": st.dictionaries(st.sampled_from(["services", "drift", "migrations"]), st.text(max_size=5)),
        "release": st.sampled_from([{}, RELEASE]),
        "services": st.lists(
            st.builds(Service, st.text(max_size=3), st.just("web"), st.just("i"), st.integers(0, 2)), max_size=2
        ),
    },
)


def test_what_users_do_not_get_is_something_to_act_on_with_the_logs_of_who_answers_them() -> None:
    api = Service("api", "web", "image", 1, (Container("travel-api-1", "running"),))
    one = seen(services=[api], wrong="GET https://travel.example/api/tours/ answered 500")
    state, command = verdict(one)
    assert (state, command) == ("attention", "docker logs --tail 50 travel-api-1")
    assert any("! site: GET https://travel.example/api/tours/ answered 500" in line for line in text(one))


@given(pieces)
def test_whatever_is_seen_is_told_and_unfinished_means_that_there_is_something_to_run(parts: Mapping[str, Any]) -> None:
    one = Seen("travel", **parts)
    state, command = verdict(one)
    lines = text(one)
    assert lines[0].endswith(f": {state}") and all(line.isprintable() for line in lines)
    assert (state != "unfinished") or command
    # An operation that lives is never called dead.
    assert not (one.holder.alive and state == "unfinished" and one.holder.lock.operation.target in command and not one.pending_undo
                and not one.records)  # fmt: skip


def test_a_killed_process_is_told_from_the_files_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    root = tmp_path / "srv"
    keeper = Keeper(str(root / ".evenkeel"))
    token = keeper.take(TO_V2, "anna@laptop").lock.token

    def told() -> dict[str, Any]:
        return deploy_info({"path": str(root), "project_name": "travel"}, False)

    assert told()["status"] == "running"
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    keeper.renew(token, process=identity(child.pid))
    assert told()["info"]["holder"]["alive"]
    child.kill()
    child.wait()
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*")}
    assert (told()["status"], told()["next"]) == ("unfinished", UPDATE_V2)
    assert "no Docker engine answers" in str(told()["info"]["unseen"])
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*")} == before
    # The same after a reboot, between two tasks.
    lock = keeper.renew(token, process=None)
    old = replace(lock, renewed=Moment(now().wall, 1.0, "another boot"))
    write_private(str(root / ".evenkeel/lock"), json.dumps(lease.to_json(old)))
    assert (told()["status"], told()["info"]["holder"]["rebooted"]) == ("unfinished", True)


@pytest.mark.skipif(os.geteuid() != 0, reason="root reads everything")
def test_what_may_not_be_read_is_named(tmp_path: Path) -> None:
    root = tmp_path / "srv"
    state = root / ".evenkeel"
    state.mkdir(parents=True, mode=0o700)
    write_private(str(state / "lock"), "{}")
    for folder in (tmp_path, *tmp_path.parents):
        if folder.is_relative_to(tempfile.gettempdir()) and folder != Path(tempfile.gettempdir()):
            folder.chmod(0o755)
    root.chmod(0o755)
    code = (
        "import os, sys;"
        "from ansible_collections.evenkeel.deploy.plugins.module_utils.calls.deploy_info import call as deploy_info;"
        "ask = lambda: deploy_info({'path': sys.argv[1], 'project_name': 'travel'}, False)['info']['unseen'];"
        # Asked once before, so that nothing has to be imported from folders that only root may read.
        "ask(); os.setgroups([]); os.setgid(65534); os.setuid(65534); print(ask())"
    )
    environment = {
        **os.environ,
        "DOCKER_HOST": "unix:///nowhere/docker.sock",
        "PYTHONPATH": str(Path(__file__).parents[3] / "collections"),
    }
    argv = [sys.executable, "-c", code, str(root)]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert "no permission to read" in done.stdout and "'lock'" in done.stdout, done.stdout + done.stderr


def test_what_a_proxy_shows_of_anothers_making_is_not_held_against_its_own_image() -> None:
    def volume(source: str) -> dict[str, str]:
        return {"type": "volume", "source": source, "target": "/x"}

    project = {
        "name": "shop",
        "volumes": {"dist": {"name": "shop_dist"}, "cache": None, "media": {"name": "uploads"}},
        "services": {
            "builder": {"volumes": [volume("dist")]},
            "api": {"volumes": [volume("media"), {"type": "bind", "source": "/srv", "target": "/y"}]},
            "nginx": {"volumes": [volume("dist"), volume("cache"), volume("media")]},
        },
    }
    assert made_by_others(project, {"nginx"}) == {("nginx", "shop_dist"), ("nginx", "uploads")}
    assert made_by_others({}, {"nginx"}) == set()


def test_what_a_job_has_written_as_it_built_is_held_against_nobody() -> None:
    mine = [{"Config": {"Labels": {"com.docker.compose.service": name}}} for name in ("api", "builder")]
    services = [Service("api", "web", "shop", 1, ()), Service("builder", "job", "front", 0, ())]
    assert of_no_job(mine, services) == mine[:1]
