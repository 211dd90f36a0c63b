# SPDX-License-Identifier: GPL-3.0-or-later
"""A hotfix in running containers: seconds, nothing lost, nothing that goes on with old code, and a mark until it is a release."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.calls.hotfix_in_place import call as change
from demo.repository import add_commit
from tests.bed.code_hotfix import CODE, PAGE, VERSION, hotfix, of_v1, said
from tests.bed.fronts import FRONTS, fronted
from tests.bed.killed_in_place import PLACES, RESTARTED_PLACES, ROTATED_PLACES, kill_in_place
from tests.bed.killed_roll import QUICK
from tests.bed.nothing_lost import assert_nothing_lost
from tests.bed.shop import Play, Shop, run, settle
from tests.bed.shop_snapshot import ids_of

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="memory of other processes, and rules in namespaces, are root's"
)

APP = ("api", "celery", "celery-beat")
NO_DRIFT = re.compile(r"drift +none")
_API = "    stop_grace_period: 40s\n"
_PRELOADED = (
    "    command: gunicorn shop.wsgi:application --bind 0.0.0.0:8000 --workers 2 --threads 8 --worker-class gthread "
    "--graceful-timeout 30 --timeout 60 --preload\n"
)


def made(name: str, replicas: int = 1) -> Iterator[Shop]:
    shop = Shop(name, {"app_keep_releases": 20, "app_services": QUICK, "replicas": {"api": replicas}})
    shop.destroy()
    try:
        yield shop.create()
    finally:
        shop.destroy()


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """A shop at v1."""
    for one in made("in-place"):
        first = one.update("v1")
        assert first.returncode == 0, first.output[-4000:]
        yield one


@pytest.fixture(scope="module")
def pair() -> Iterator[Shop]:
    """A shop with two web containers."""
    for one in made("in-place-two", 2):
        first = one.update(fronted(one, "v1", FRONTS["plain"], 2))
        assert first.returncode == 0, first.output[-4000:]
        yield one


def in_place(shop: Shop, files: Mapping[str, str], *arguments: str, name: str = "night", **more: Any) -> Play:
    return hotfix(shop, files, *arguments, hotfix_mode="in_place", hotfix_name=name, **more)


def back(shop: Shop, name: str = "night", **more: Any) -> Play:
    return shop.rollback(rollback_hotfix=name, **more)


def parameters(shop: Shop, files: Mapping[str, str], **more: Any) -> dict[str, Any]:
    """Those of the module, without a playbook around it."""
    given = [{"path": p, "content": base64.b64encode(t.encode()).decode()} for p, t in files.items()]
    return {
        "path": str(shop.root), "state": "applied", "repo": str(shop.repository), "files": given, "name": "night",
        "compose_files": ["docker-compose.prod.yml"], "env_files": [".env"], "shared": [".env"], "service_options": QUICK,
        "django_service": "api", "manage_py": "manage.py", "timeout": 120.0, "max_files": 20, "max_lines": 400, "log_lines": 50,
        "allow_downtime": False, "prove": [{"path": "/"}], **more,
    }  # fmt: skip


def started(shop: Shop) -> dict[str, tuple[str, str]]:
    """Name of a container → its id, and since when it runs."""
    settle(shop.name)
    return {i["Name"].lstrip("/"): (i["Id"], i["State"]["StartedAt"]) for i in shop.inspections()}


def contents(shop: Shop, path: str) -> set[str]:
    """What a file is in the containers of the app."""
    names = [n for service in APP for n in shop.containers(service)]
    return {run(["docker", "exec", name, "cat", f"/app/{path}"]) for name in names}


def versions(shop: Shop) -> set[str]:
    """What users are told by both web containers, asked often enough to meet each worker of each."""
    told = set()
    for _n in range(24):
        text = run(["curl", "--silent", "--fail", "--max-time", "5", f"{shop.url}/health/"])
        told.add(str(json.loads(text)["version"]))
    return told


def status(shop: Shop) -> str:
    return shop.play(playbook="status", status_look_at=["drift"]).output


def as_v1(shop: Shop) -> None:
    """What each case begins with."""
    assert versions(shop) == {"v1"} and contents(shop, VERSION) == {of_v1(shop, VERSION)}
    assert not (shop.root / ".evenkeel/in-place.json").exists() and shop.leftovers() == []


def test_it_is_in_all_containers_at_once_told_by_status_and_taken_back(shop: Shop) -> None:
    ids, before = ids_of(shop), started(shop)
    owner = run(["docker", "exec", shop.container("api"), "stat", "-c", "%u:%g %a", f"/app/{VERSION}"])
    files = {VERSION: said("v1-night"), PAGE: of_v1(shop, PAGE).replace("</body>", "<p>mended</p></body>")}
    probe = {"path": "/", "contains": "mended"}
    check = in_place(shop, files, "--check", "--diff")
    assert check.returncode == 0 and "its workers start anew" in check.output, check.output[-4000:]
    as_v1(shop)
    play = in_place(shop, files, hotfix_probe=probe)
    assert play.returncode == 0, play.output[-5000:]
    assert (
        "hotfix_capture=true -e hotfix_name=night" in play.output
        and "the last log lines since the change" in play.output
    )
    assert versions(shop) == {"v1-night"} and "mended" in run(["curl", "-s", f"{shop.url}/"])
    assert ids_of(shop) == ids and shop.leftovers() == [] and contents(shop, VERSION) == {said("v1-night")}
    # gunicorn itself goes on; Celery has loaded it before it forks.
    after = started(shop)
    assert {n for n in after if after[n] != before[n]} == {shop.container("celery"), shop.container("celery-beat")}
    assert run(["docker", "exec", shop.container("api"), "stat", "-c", "%u:%g %a", f"/app/{VERSION}"]) == owner
    again = in_place(shop, files, hotfix_probe=probe)
    assert (again.returncode, again.changed) == (0, 0) and started(shop) == after, again.output[-3000:]
    told = status(shop)
    assert "night is in running containers only" in told and "by hand" not in told, told[-3000:]
    lacking = shop.update("v2")
    assert lacking.returncode != 0 and "seal it first" in lacking.output, lacking.output[-3000:]
    gone = back(shop)
    assert gone.returncode == 0, gone.output[-4000:]
    as_v1(shop)
    assert "running containers only" not in status(shop)
    print(
        f"\nevidence: a hotfix of code and a template in place, with nobody there: {play.seconds:.1f} s, back {gone.seconds:.1f} s"
    )


def test_what_would_not_work_or_is_not_what_is_expected_leaves_all_as_it_was(shop: Shop) -> None:
    before = started(shop)
    with pytest.raises(BadInput, match="SyntaxError"):
        change(parameters(shop, {CODE: "def listing(:\n"}), False)
    with pytest.raises(BadInput, match="kind static"):
        change(parameters(shop, {"tours/static/tours/site.css": "a {}\n"}), False)
    assert started(shop) == before
    as_v1(shop)
    files = {VERSION: said("v1-wrong"), "shop/extra.py": "EXTRA = 1\n"}
    wrong = in_place(shop, files, hotfix_probe={"path": "/health/", "contains": "v1-right"})
    assert wrong.returncode != 0 and "without 'v1-right'" in wrong.message, wrong.output[-4000:]
    assert "last log lines since the change" in wrong.message
    as_v1(shop)
    # Its worker had ended meanwhile, and has no file more than its image either.
    listed = run(["docker", "exec", shop.container("celery"), "ls", "/app/shop"])
    assert "extra" not in listed and NO_DRIFT.search(status(shop)), listed


def test_a_probe_that_is_wrong_takes_a_sealed_one_back_as_well(shop: Shop) -> None:
    files = {VERSION: said("v1-wrong")}
    wrong = hotfix(shop, files, hotfix_name="sealed", hotfix_probe={"path": "/health/", "contains": "v1-right"})
    assert wrong.returncode != 0 and "without 'v1-right'" in wrong.message and "marked bad" in wrong.output, (
        wrong.output[-4000:]
    )
    as_v1(shop)
    refused = hotfix(shop, files, hotfix_name="sealed", hotfix_probe="no path")
    assert refused.returncode != 0 and "is no question" in refused.output
    play = hotfix(shop, files, hotfix_name="sealed", hotfix_probe={"path": "/health/", "contains": "v1-wrong"})
    assert play.returncode == 0 and "the last log lines since the change" in play.output, play.output[-4000:]
    gone = shop.rollback(rollback_to="v1")
    assert gone.returncode == 0, gone.output[-3000:]
    as_v1(shop)


def test_a_single_container_changes_under_load_while_its_requests_wait(shop: Shop) -> None:
    as_v1(shop)
    with shop.load() as load:
        play = in_place(
            shop, {VERSION: said("v1-held"), "tours/tasks.py": of_v1(shop, "tours/tasks.py") + "\n# mended\n"}
        )
        gone = back(shop)
        result = load.stop()
    assert play.returncode == 0 and gone.returncode == 0, (play.output + gone.output)[-5000:]
    as_v1(shop)
    assert_nothing_lost(shop, load, result)
    print(
        f"\nevidence: in place, one container: {result.total:,} requests, 0 failed, {play.seconds:.1f} s, back {gone.seconds:.1f} s"
    )


def test_two_containers_change_under_load_one_after_the_other(pair: Shop) -> None:
    with pair.load() as load:
        play = in_place(pair, {VERSION: said("v1-rotated")})
        result = load.stop()
    assert play.returncode == 0 and versions(pair) == {"v1-rotated"}, play.output[-5000:]
    assert pair.leftovers() == []
    assert_nothing_lost(pair, load, result)
    gone = back(pair)
    assert gone.returncode == 0, gone.output[-4000:]
    as_v1(pair)
    print(f"\nevidence: in place, two containers: {result.total:,} requests, 0 failed, {play.seconds:.1f} s")


def test_preloaded_code_needs_a_start_refused_for_one_and_unnoticed_of_two(shop: Shop, pair: Shop) -> None:
    for one, edits in ((shop, _PRELOADED), (pair, f"{_PRELOADED}    deploy:\n      replicas: 2\n")):
        text = of_v1(one, "docker-compose.prod.yml")
        add_commit(
            one.repository, {"docker-compose.prod.yml": text.replace(_API, _API + edits)}, "preloaded", parent="v1"
        )
        play = one.update("preloaded")
        assert play.returncode == 0, play.output[-4000:]
    before = started(shop)
    with pytest.raises(BadInput, match="preload") as refused:
        change(parameters(shop, {VERSION: said("v1-pre")}), False)
    assert "hotfix_allow_downtime=true" in refused.value.message() and started(shop) == before
    accepted = in_place(shop, {VERSION: said("v1-pre")}, hotfix_allow_downtime=True)
    assert accepted.returncode == 0 and versions(shop) == {"v1-pre"}, accepted.output[-4000:]
    assert "its requests fail for as long as it starts" in accepted.output and shop.leftovers() == []
    ids = {i["Id"] for i in pair.inspections()}
    with pair.load() as load:
        play = in_place(pair, {VERSION: said("v1-pre")})
        result = load.stop()
    assert play.returncode == 0 and versions(pair) == {"v1-pre"}, play.output[-5000:]
    assert {i["Id"] for i in pair.inspections()} == ids and pair.leftovers() == []
    assert_nothing_lost(pair, load, result)
    for place in RESTARTED_PLACES:
        version = f"v1-{RESTARTED_PLACES.index(place)}"
        kill_in_place(pair, parameters(pair, {VERSION: said(version)}), place)
        again = change(parameters(pair, {VERSION: said(version)}), False)
        assert versions(pair) == {version} and pair.leftovers() == [], (place, again)
    refused_back = back(shop)
    assert "rollback_allow_downtime=true" in refused_back.message, refused_back.output[-3000:]
    for one in (shop, pair):
        gone = back(one, rollback_allow_downtime=one is shop)
        assert gone.returncode == 0, gone.output[-4000:]
        play = one.update("v1" if one is shop else fronted(one, "v1", FRONTS["plain"], 2))
        assert play.returncode == 0, play.output[-4000:]
        as_v1(one)
    print(f"\nevidence: in place, two containers with --preload: {result.total:,} requests, 0 failed")


def test_killed_at_each_place_the_same_call_ends_it_both_ways(shop: Shop) -> None:
    as_v1(shop)
    for number, place in enumerate(PLACES):
        files = {VERSION: said(f"v1-k{number}")}
        kill_in_place(shop, parameters(shop, files), place)
        told = change(parameters(shop, files), False)
        assert not told.get("failed"), (place, told)
        assert versions(shop) == {f"v1-k{number}"} and contents(shop, VERSION) == {files[VERSION]}, place
        assert shop.leftovers() == [], place
    for place in PLACES[1:]:
        if not (shop.root / ".evenkeel/in-place.json").exists():
            change(parameters(shop, {VERSION: said("v1-again")}), False)
        kill_in_place(shop, parameters(shop, {}, state="reverted"), place)
        told = change(parameters(shop, {}, state="reverted"), False)
        as_v1(shop)
        assert not told.get("failed"), (place, told)


def test_killed_while_one_is_led_around_the_same_call_ends_it(pair: Shop) -> None:
    as_v1(pair)
    for number, place in enumerate(ROTATED_PLACES):
        files = {VERSION: said(f"v1-r{number}")}
        kill_in_place(pair, parameters(pair, files), place)
        told = change(parameters(pair, files), False)
        assert not told.get("failed"), (place, told)
        assert versions(pair) == {f"v1-r{number}"} and pair.leftovers() == [], place
    gone = back(pair)
    assert gone.returncode == 0, gone.output[-4000:]
    as_v1(pair)


def test_a_container_that_is_created_anew_comes_without_it_and_status_says_which(shop: Shop) -> None:
    as_v1(shop)
    files = {VERSION: said("v1-anew")}
    assert in_place(shop, files).returncode == 0
    shop.compose("up", "--detach", "--force-recreate", "--no-deps", "--wait", "celery-beat")
    told = status(shop)
    assert f"as {shop.container('celery-beat')} did" in told, told[-3000:]
    # The same command puts it there again.
    play = in_place(shop, files)
    assert play.returncode == 0 and contents(shop, VERSION) == {said("v1-anew")}, play.output[-4000:]
    other = in_place(shop, {CODE: of_v1(shop, CODE) + "\n# two\n"}, name="two")
    assert other.returncode != 0 and "seal it" in other.message, other.output[-3000:]
    edited = hotfix(shop, {CODE: of_v1(shop, CODE) + "\n# two\n"}, hotfix_name="two")
    assert edited.returncode != 0 and "seal it first" in edited.message, edited.output[-3000:]
    # Compose knows the one that was created without its dependencies by another hash.
    shop.compose("up", "--detach", "--wait")
    assert in_place(shop, files).returncode == 0
    assert back(shop).returncode == 0
    as_v1(shop)


@pytest.mark.parametrize("how", ["captured", "the same files"])
def test_sealed_it_is_a_release_without_a_mark(shop: Shop, how: str) -> None:
    as_v1(shop)
    version = f"v1-{how[:3]}"
    play = in_place(shop, {VERSION: said(version)}, name=how[:3])
    assert play.returncode == 0, play.output[-4000:]
    if how == "captured":
        sealed = shop.play(playbook="hotfix", hotfix_capture=True, hotfix_name=how[:3])
    else:
        sealed = hotfix(shop, {VERSION: said(version)}, hotfix_name=how[:3])
    assert sealed.returncode == 0 and versions(shop) == {version}, sealed.output[-5000:]
    assert os.readlink(shop.root / "current").endswith(".h1") and shop.leftovers() == []
    told = status(shop)
    assert "running containers only" not in told and NO_DRIFT.search(told), told[-3000:]
    gone = shop.rollback(rollback_to="v1")
    assert gone.returncode == 0, gone.output[-4000:]
    as_v1(shop)
