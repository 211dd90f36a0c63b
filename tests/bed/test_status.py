# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``status`` says of a real shop: fine, edited by hand, in and after an update that is killed, with parts of it gone."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.calls.deploy_info import call as deploy_info
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.host.journal import Keeper, LockHeld
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.lease import Operation
from tests.bed.killed_roll import QUICK
from tests.bed.running_update import QUICKLY, Running
from tests.bed.shop import Shop, run, settle


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """A shop that went from v1 to v2."""
    made = Shop("status", {"app_keep_releases": 6})
    made.destroy()
    try:
        made.create()
        for version in ("v1", "v2"):
            play = made.update(version, app_services=QUICK)
            assert play.returncode == 0, play.output[-4000:]
        yield made
    finally:
        made.destroy()


def look(shop: Shop, *parts: str) -> dict[str, Any]:
    """What the module tells."""
    return deploy_info(
        {"path": str(shop.root), "project_name": shop.name, "django_service": "api", "look_at": parts}, False
    )


def to_do(told: Mapping[str, Any]) -> list[str]:
    """What has to be done, as far as it is not that this machine is full."""
    return [
        f"{f['about']}: {f['what']}"
        for f in told["findings"]
        if f["level"] == "act" and f["about"] not in ("disk", "memory")
    ]


def everything(shop: Shop) -> dict[str, Any]:
    """Every file and container of the shop, to see that nothing was touched."""
    # Nobody waits for the end of a container that has told which migrations there are.
    settle(shop.name)
    files = {str(p): p.lstat().st_mtime_ns for p in sorted(shop.root.rglob("*"))}
    return {**files, **{i["Id"]: (i["State"]["StartedAt"], i["RestartCount"]) for i in shop.inspections()}}


def test_all_is_well_and_nothing_was_touched(shop: Shop) -> None:
    before = everything(shop)
    play = shop.play(playbook="status")
    assert (play.returncode, play.changed) == (0, 0), play.output[-4000:]
    assert "all of it is here; database: code only" in play.flat, play.output[-4000:]
    as_json = shop.play("--check", playbook="status", status_format="json", status_look_at=[])
    assert (as_json.returncode, as_json.changed) == (0, 0) and "findings:" in as_json.output, as_json.output[-4000:]
    told = look(shop, "drift", "migrations", "use")
    assert (to_do(told), told["next"], told["info"]["unseen"]) == ([], "", {}), told["text"]
    assert everything(shop) == before
    info = told["info"]
    assert info["release"]["version"] == "v2" and info["rollback_target"]["version"] == "v1"
    assert {s["name"]: (s["kind"], len(s["containers"])) for s in info["services"]} == {
        "api": ("web", 1), "celery": ("worker", 1), "celery-beat": ("scheduler", 1), "db": ("database", 1),
        "nginx": ("proxy", 1), "redis": ("broker", 1),
    }  # fmt: skip
    assert all(c["memory"] and c["revision"] == info["release"]["revision"] for c in info["services"][0]["containers"])
    assert info["migrations"]["pending"] == 0 and info["migrations"]["applied"] > 10
    assert [r["target"] for r in info["records"]] == ["v2", "v1"] and info["records"][0]["result"] == "ok"
    print("\n".join(told["text"]))


def test_hand_edits_are_found_and_forgotten_when_they_are_taken_back(shop: Shop) -> None:
    api, file = shop.container("api"), "/app/tours/views.py"
    conf = shop.root / "shared/proxy/nginx/deploy/nginx.conf"
    tree = shop.root / "current/manage.py"
    kept = {path: path.read_bytes() for path in (conf, tree)}
    shop.edit_by_hand("api", f"cp -p {file} /tmp/kept; echo '# by hand' >> {file}")
    for path, content in kept.items():
        path.write_bytes(content + b"# by hand\n")
    told = look(shop, "drift")
    edits = {e["where"]: e["differences"] for e in told["info"]["edits"]}
    assert {w: [(d["path"], d["change"]) for d in found] for w, found in edits.items()} == {
        api: [(file, "changed")], str(conf): [(".", "changed")],
        str((shop.root / "current").resolve()): [("manage.py", "changed")],
    }  # fmt: skip
    assert len(to_do(told)) == 3 and told["status"] == "attention", told["text"]
    assert "by hand" not in str([e["differences"] for e in told["info"]["edits"]]), "contents are told"
    run(["docker", "exec", "-u", "0", api, "sh", "-c", f"cat /tmp/kept > {file}"])
    for path, content in kept.items():
        path.write_bytes(content)
    assert to_do(look(shop, "drift")) == []


def test_two_at_once_and_a_killed_one_status_says_what_to_run_and_that_converges(shop: Shop) -> None:
    first = Running(shop, "v1")
    first.until_event("start ")
    told = look(shop)
    assert told["status"] == "running" and told["info"]["holder"]["alive"] and to_do(told) == [], told["text"]
    assert f"update of {shop.name} to v1 by " in "\n".join(told["text"])
    with pytest.raises(LockHeld, match=f"update of {shop.name} to v1, begun"):
        Keeper(str(shop.root / ".evenkeel")).take(Operation("update", shop.name, "v3"), "somebody else", at_once=True)
    first.until_event("rotate api")
    first.kill()
    told = look(shop, "drift")
    assert told["status"] == "unfinished", told["text"]
    assert told["next"] == "ansible-playbook evenkeel.deploy.update -e update_version=v1"
    assert any(line.startswith("pin in ") for line in told["info"]["leftovers"]), told["info"]["leftovers"]
    words = shlex.split(told["next"])
    assert words[:3] == ["ansible-playbook", "evenkeel.deploy.update", "-e"]
    play = shop.play("-e", words[3], **QUICKLY)
    assert play.returncode == 0 and shop.version() == "v1" and shop.leftovers() == [], play.output[-4000:]
    told = look(shop)
    assert (to_do(told), told["info"]["leftovers"]) == ([], []), told["text"]


def test_an_image_of_the_way_back_that_is_gone(shop: Shop) -> None:
    back = look(shop)["info"]["rollback_target"]
    assert back["missing"] == ()
    name = f"{shop.name}-api:{back['revision'][:12]}"
    run(["docker", "tag", name, f"{shop.name}-kept:1"])
    run(["docker", "rmi", name])
    try:
        told = look(shop)
        assert f"api: the image {name} is not on this host any more" in told["info"]["rollback_target"]["missing"]
        assert told["status"] == "attention" and "pull or load what is gone" in told["next"], told["text"]
    finally:
        run(["docker", "tag", f"{shop.name}-kept:1", name])
        run(["docker", "rmi", f"{shop.name}-kept:1"])
    assert to_do(look(shop)) == []


def test_a_database_that_does_not_run(shop: Shop) -> None:
    database = shop.container("db")
    run(["docker", "stop", "--time", "10", database])
    try:
        told = look(shop, "migrations")
        assert "db: 0 of 1 run" in str(to_do(told)) and f"{database} is exited" in str(to_do(told)), told["text"]
        assert "migrations" in told["info"]["unseen"] and told["info"]["records"], told["info"]["unseen"]
        play = shop.play(playbook="status")
        assert play.returncode == 0 and "cannot be seen" in play.flat, play.output[-3000:]
    finally:
        run(["docker", "start", database])
    # The shop's own health asks for its database; what goes on has to be whole again.
    end = time.monotonic() + 90
    while to_do(look(shop)) and time.monotonic() < end:
        time.sleep(1)
    assert to_do(look(shop)) == []


def test_without_an_engine_without_a_release_and_without_rights(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    told = look(shop, "drift", "migrations")
    assert {"services", "leftovers", "way back", "drift", "migrations"} <= set(told["info"]["unseen"]), told["info"][
        "unseen"
    ]
    assert (
        told["info"]["release"]["version"] == "v1"
        and told["info"]["records"]
        and "no Docker engine" in str(told["text"])
    )
    monkeypatch.delenv("DOCKER_HOST")
    empty = deploy_info(
        {"path": str(tmp_path / "none"), "project_name": "evenkeel-none", "django_service": "api"}, False
    )
    assert (to_do(empty), empty["info"]["release"], empty["info"]["services"]) == ([], {}, []), empty["text"]
    assert not (tmp_path / "none").exists()
    # What runs is told also where no release of ours is known.
    bare = deploy_info({"path": str(tmp_path / "none"), "project_name": shop.name, "look_at": []}, False)
    assert {s["name"] for s in bare["info"]["services"]} >= {"api", "db", "nginx"} and to_do(bare) == [], bare["text"]
