# SPDX-License-Identifier: GPL-3.0-or-later
"""All that a Compose file can hold, through updates under load: what is new, gone, more, reconfigured, and refused."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.bed.nothing_lost import assert_nothing_lost
from tests.bed.shop import Play, Shop, deployed, run
from tests.bed.stacks import changed

#: Proven as ever, but not for as long: what is looked at here is the rest of the stack.
QUICK = {"api": {"ready_timeout": 20, "prove_seconds": 1, "monitor": 2}}


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    with deployed("stack", {"app_services": QUICK}) as made:
        yield made


def expect(shop: Shop, replicas: int = 1) -> None:
    """Hold what an operation leaves behind against what this version has."""
    shop.variables["replicas"] = {"api": replicas}
    assert shop.leftovers() == []


def good(play: Play) -> None:
    assert play.returncode == 0, play.output[-6000:]


def at_v3(shop: Shop) -> None:
    """Have v3 serve, and nothing else, whatever the test before has left."""
    current = json.loads((shop.root / "current/.evenkeel/manifest.json").read_text(encoding="utf-8"))["version"]
    shop.variables["replicas"] = {"api": 1}
    if current != "v3" or shop.version() != "v3" or shop.leftovers():
        good(shop.update("v3"))


def header(shop: Shop) -> str:
    """What nginx says in its header."""
    answer = run(["curl", "--silent", "--head", f"{shop.url}/health/"])
    return next((line.split(": ")[1].strip() for line in answer.splitlines() if line.startswith("X-Config:")), "")


def ids(shop: Shop, *services: str) -> dict[str, str]:
    return {s: next(i["Id"] for i in shop.inspections() if i["Name"] == f"/{shop.container(s)}") for s in services}


def test_a_service_more(shop: Shop) -> None:
    standing = ids(shop, "db", "redis", "nginx")
    with shop.load() as load:
        # The web does not become healthy before the new service answers; nginx gets another configuration with it.
        more = changed(shop, "v2", ["search"], header="more", search=True)
        good(shop.update(more))
        assert (header(shop), len(shop.containers("search"))) == ("more", 1)
        expect(shop)
        again = shop.update(more)
        assert (again.returncode, again.changed) == (0, 0), again.output[-4000:]
        result = load.stop()
    assert_nothing_lost(shop, load, result)
    assert ids(shop, "db", "redis", "nginx") == standing


def test_a_service_less_and_two_containers_more(shop: Shop) -> None:
    good(shop.update(changed(shop, "v2", ["search"], header="most", search=True)))
    standing = ids(shop, "db", "redis", "nginx")
    with shop.load() as load:
        good(shop.update(changed(shop, "v3", ["three"])))
        assert (header(shop), shop.containers("search")) == ("", {})
        expect(shop, 3)
        result = load.stop()
    assert_nothing_lost(shop, load, result)
    assert ids(shop, "db", "redis", "nginx") == standing


def test_an_environment_that_changed_is_a_release_of_its_own(shop: Shop) -> None:
    at_v3(shop)
    expect(shop)
    before, standing = os.readlink(shop.root / "current"), ids(shop, "db", "redis", "nginx")
    environment = shop.root / "shared/.env"
    with shop.load() as load:
        environment.write_text(environment.read_text(encoding="utf-8") + "\nSHOP_MOTTO=Even\n", encoding="utf-8")
        play = shop.update("v3")
        good(play)
        result = load.stop()
    assert_nothing_lost(shop, load, result)
    expect(shop)
    assert os.readlink(shop.root / "current") != before
    for service in ("api", "celery", "celery-beat"):
        assert "SHOP_MOTTO=Even" in run(["docker", "exec", shop.container(service), "env"])
    # The database reads its environment when it is made, and making it anew would be a gap.
    assert ids(shop, "db", "redis", "nginx") == standing
    assert "SHOP_MOTTO" in play.output
    assert "SHOP_MOTTO" not in (shop.root / before / "compose.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ("moved", ["db", "/var/lib/postgresql/data", "elsewhere"]),
        ("pgdata", ["db", "/var/lib/postgresql/data", "shared/pgdata"]),
        ("internal", ["network default", "internal"]),
        ("tuned", ["db", "command", "update_allow_downtime"]),
    ],
)
def test_what_would_lose_data_or_leave_a_gap_is_refused_by_name(shop: Shop, edit: str, words: list[str]) -> None:
    at_v3(shop)
    before = {i["Id"] for i in shop.inspections()}
    play = shop.update(changed(shop, "v3", [edit]))
    assert play.returncode != 0
    assert all(word in play.message for word in [*words, "What:", "Now:", "Next:"]), play.output[-3000:]
    assert {i["Id"] for i in shop.inspections()} == before
    expect(shop)


def test_an_admin_finds_the_same_project_whichever_way_they_come(shop: Shop) -> None:
    at_v3(shop)
    current, dry = shop.root / "current", "docker compose up --detach --dry-run"
    ways = {
        "through the link": ["sh", "-c", f"cd {current} && {dry}"],
        "where the link leads": ["sh", "-c", f"cd -P {current} && {dry}"],
        "as cron does, without an environment": [
            "env",
            "-i",
            "PATH=/usr/bin:/bin",
            "sh",
            "-c",
            f"cd {current} && {dry}",
        ],
        "from elsewhere": [*dry.replace("compose", f"compose --project-directory {current}", 1).split()],
        "with somebody's own variables": ["env", "PWD=/tmp", "sh", "-c", f"cd {current} && {dry}"],
    }
    for way, argv in ways.items():
        done = subprocess.run(argv, cwd="/", capture_output=True, text=True, check=False)
        would = re.findall(r"Container \S+\s+(?:Creat|Recreat|Start)\w*", done.stdout + done.stderr)
        assert (done.returncode, would) == (0, []), (way, would, done.stderr[-500:])


def test_a_stack_that_somebody_stopped_is_started_as_it_was(shop: Shop) -> None:
    at_v3(shop)
    before = {i["Id"] for i in shop.inspections()}
    shop.compose("stop", "--timeout", "2")
    good(shop.update("v3"))
    assert {i["Id"] for i in shop.inspections()} == before
    assert shop.version() == "v3"
    expect(shop)


def test_a_gap_that_is_allowed_is_taken_and_a_bad_version_brings_the_old_definition_back(shop: Shop) -> None:
    at_v3(shop)
    tuned = changed(shop, "v3", ["tuned"])
    good(shop.update(tuned, update_allow_downtime=True))
    expect(shop)
    assert "work_mem=8MB" in run(["docker", "inspect", "--format", "{{.Config.Cmd}}", shop.container("db")])
    play = shop.update("bad-500", update_allow_downtime=True)
    assert play.returncode != 0
    assert shop.version() == "v3"
    assert "work_mem=8MB" in run(["docker", "inspect", "--format", "{{.Config.Cmd}}", shop.container("db")])
    expect(shop)
    good(shop.update("v3", update_allow_downtime=True))
    expect(shop)


#: One change each, from v3: what the Compose file gets, what nginx says, whether the app asks the new service.
CHANGES: dict[str, dict[str, Any]] = {
    "a service added that the web depends on": {"edits": ["search"], "search": True},
    "nothing but nginx.conf": {"header": "other"},
    "api scaled from 1 to 3": {"edits": ["three"]},
    "code that is mounted": {"edits": ["code"]},
    "nginx itself": {"edits": ["front"]},
}


@pytest.mark.parametrize("change", CHANGES)
def test_one_change_under_load_and_back(shop: Shop, change: str) -> None:
    at_v3(shop)
    expect(shop)
    version = changed(shop, "v3", **CHANGES[change])
    replicas = 3 if "three" in CHANGES[change].get("edits", ()) else 1
    for target, number in ((version, replicas), ("v3", 1)):
        with shop.load() as load:
            play = shop.update(target)
            good(play)
            result = load.stop()
        assert_nothing_lost(shop, load, result)
        assert len(shop.containers("api")) == number
        expect(shop, number)
        way = change if target == version else "and back"
        print(f"\nevidence: {way}: {result.total:,} requests, 0 failed, {play.seconds:.0f} s")
