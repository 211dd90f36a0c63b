# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole life of a stack of somebody else's, with users there all the time: nobody is failed where no gap is announced."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.bed.code_hotfix import hotfix
from tests.bed.load.process import proxy_log
from tests.bed.shop import ROOT, Play, run, succeeded
from tests.bed.shop_releases import manifests
from tests.bed.tours import NAME, TREE, VIEWS, Tours

#: Proven as ever, but not for as long.
OPTIONS = {"api": {"prove_seconds": 1, "monitor": 2, "ready_timeout": 90}, "celery": {"monitor": 1}}
_STANDING = ("db", "cache", "edge")


@pytest.fixture(scope="module")
def tours() -> Iterator[Tours]:
    """A checkout whose containers run. Its tests go on from each other, as its life does."""
    made = Tours("tours", {"app_services": OPTIONS, "backup_min_free": "0"})
    made.destroy()
    try:
        yield made.create().start()
    finally:
        made.destroy()


def refused(play: Play, *words: str) -> None:
    assert play.returncode != 0, play.output[-4000:]
    assert all(word in play.flat_message for word in ("What:", "Now:", "Next:", *words)), play.output[-5000:]


def sound(tours: Tours) -> None:
    """Nothing is left over of what was done, and ``status`` finds no file that anybody has changed."""
    assert tours.leftovers() == []
    said = succeeded(tours.play(playbook="status")).output
    assert "- drift:" not in said, said[-4000:]


def season(tours: Tours) -> str:
    return re.findall("winter|summer", tours.page())[0]


def test_it_answers_by_its_name_and_by_https_alone(tours: Tours) -> None:
    plain = ["curl", "--silent", "--head", "--resolve", f"{NAME}:{tours.spare_port}:127.0.0.1"]
    assert f"Location: https://{NAME}/api/tours/" in run([*plain, f"http://{NAME}:{tours.spare_port}/api/tours/"])
    answered = tours.python("-c", f"import urllib.request as r; r.urlopen('http://127.0.0.1:{tours.spare_port}/')")
    assert answered.returncode != 0
    # The app itself has no page, and does not know another name.
    headers = "{'Host': sys.argv[2], 'X-Forwarded-Proto': 'https'}"
    ask = f"import sys, urllib.request as r; r.urlopen(r.Request('http://127.0.0.1:8000' + sys.argv[1], headers={headers}))"
    for path, name, status in (("/", NAME, "404"), ("/api/tours/", "localhost", "400")):
        said = run(
            [
                "docker",
                "exec",
                tours.container("api"),
                "sh",
                "-c",
                'python3 -c "$0" "$1" "$2" 2>&1 || true',
                ask,
                path,
                name,
            ]
        )
        assert f"HTTP Error {status}" in said


def in_deploy(tours: Tours, *words: str) -> Play:
    """Run ansible-playbook as somebody does who has just installed the collection, beside the folder that ``init`` writes."""
    began = time.monotonic()
    place = tours.folder / "deploy" if words[0] != "evenkeel.deploy.init" else tours.folder
    done = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-playbook"), *words],
        cwd=place,
        env={**tours.environment, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"), "PWD": str(place)},
        capture_output=True,
        text=True,
        check=False,
    )
    return Play(done.returncode, done.stdout + done.stderr, time.monotonic() - began)


def test_init_writes_what_it_needs_to_be_adopted(tours: Tours) -> None:
    before, tree = tours.lives(), tours.tree()
    said = succeeded(in_deploy(tours, "evenkeel.deploy.init", "-e", f"init_project={tours.name}"))
    assert "? " not in said.output and "! " not in said.output, said.output
    variables = yaml.safe_load((tours.folder / f"deploy/group_vars/{tours.name.replace('-', '_')}.yml").read_text())
    assert variables == {
        "app_name": tours.name,
        "app_root": f"/srv/{tours.name}",
        "app_repo": str(tours.repository),
        "app_compose_files": ["docker-compose.yml"],
        "app_health_url": f"{tours.address}/api/health/",
    }
    would = succeeded(in_deploy(tours, "evenkeel.deploy.adopt", "--check"))
    assert "would be adopted" in would.flat and "no container is touched" in would.flat
    assert "localhost" in succeeded(in_deploy(tours, "update.yml", "--list-hosts")).output
    # What a person wrote since is that person's.
    (tours.folder / "deploy/update.yml").write_text("mine\n")
    again = succeeded(in_deploy(tours, "evenkeel.deploy.init", "-e", f"init_from={tours.home}"))
    assert again.changed == 0 and "kept as they are" in again.flat
    assert (tours.folder / "deploy/update.yml").read_text() == "mine\n"
    assert (tours.lives(), tours.tree()) == (before, tree)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-e", "init_from=/nowhere/compose.yaml"), ("/nowhere/compose.yaml is not there", "init_from")),
        (("-e", "init_from=/etc"), ("/etc has no Compose file", "init_from=/etc/")),
        (("-e", "init_project=nobody"), ("not clear which Compose project is meant", "init_project=NAME")),
        (("-e", "init_form=/srv"), ("init_form (init_from?)",)),
    ],
)
def test_what_init_cannot_read_is_said(tours: Tours, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    refused(in_deploy(tours, "evenkeel.deploy.init", *arguments), *words)


def test_it_is_adopted_as_it_runs(tours: Tours) -> None:
    before, tree = tours.lives(), tours.tree()
    with tours.users("adopted"):
        succeeded(tours.adopt())
    assert (tours.lives(), tours.tree()) == (before, tree)
    assert manifests(tours)[-1]["state"] == "verified"


def test_it_is_asked_by_its_name_without_hosts_file_and_authority(tours: Tours) -> None:
    # No DNS knows the name, and nobody has signed its certificate: this server is asked, by that name.
    play = succeeded(tours.play(playbook="status"))
    assert "! site" not in play.output, play.output[-4000:]
    site = f"https://{NAME}:{tours.port}"
    # By its address nginx closes the connection; its server_name is asked then, and said. The plain port is as good for that.
    for scheme, port in (("https", tours.port), ("http", tours.spare_port)):
        url = f"{scheme}://127.0.0.1:{port}/api/health/"
        play = succeeded(tours.play(playbook="status", app_health_url=url))
        assert "! site" not in play.output, play.output[-4000:]
    # A name that is not its own is refused in the handshake; what to write is said, and nothing is asked in its place.
    wrong = tours.play(playbook="status", app_health_url=f"https://tour.example:{tours.port}/api/health/")
    assert "has no certificate for tour.example" in wrong.flat and f"app_health_url: {site}/api/health/" in wrong.flat
    # Plain, it is redirected to the usual port, which is another server's here or nobody's.
    wrong = tours.play(playbook="status", app_health_url=f"http://{NAME}:{tours.spare_port}/api/health/")
    assert f"redirected to https://{NAME}/api/health/" in wrong.flat, wrong.flat[-4000:]


def test_it_is_updated_with_its_front_end_and_a_column_more(tours: Tours) -> None:
    standing = tours.lives(*_STANDING)
    with tours.users("updated to v2"):
        succeeded(tours.update("v2"))
    assert (tours.version(), season(tours)) == ("v2", "summer")
    assert tours.migrations() == ["0001_initial", "0002_note"]
    assert tours.lives(*_STANDING) == standing
    sound(tours)
    again = succeeded(tours.update("v2"))
    assert again.changed == 0, again.output[-4000:]


@pytest.mark.parametrize("version", ["broken", "lame"])
def test_a_bad_version_is_undone(tours: Tours, version: str) -> None:
    standing = tours.lives(*_STANDING)
    with tours.users(f"{version}, undone"):
        refused(tours.update(version))
    assert (tours.version(), season(tours)) == ("v2", "summer")
    assert tours.lives(*_STANDING) == standing
    sound(tours)


def test_it_is_brought_back_to_what_was_adopted_and_forward_again(tours: Tours) -> None:
    standing = tours.lives(*_STANDING)
    with tours.users("rolled back to what was adopted"):
        succeeded(tours.rollback())
    assert tours.version() == "v1" and season(tours) == "winter"
    assert tours.lives(*_STANDING) == standing
    sound(tours)
    (bad,) = {m["revision"] for m in manifests(tours) if m["version"] == "v2"}
    with tours.users("forward to v2"):
        succeeded(tours.update("v2", update_allow_bad=bad))
    assert (tours.version(), season(tours)) == ("v2", "summer")
    assert tours.lives(*_STANDING) == standing
    sound(tours)


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("required", ["bookings.0003_channel"]),
        ("moved", ["bookings.0003_moved", "update_allow_downtime"]),
    ],
)
def test_a_migration_that_the_version_before_would_not_survive_is_refused(
    tours: Tours, version: str, words: list[str]
) -> None:
    before = tours.lives()
    with tours.users(f"{version}, refused"):
        # As `-e NAME=false` and every survey have it: text.
        refused(tours.update(version, "-e", "update_allow_downtime=false"), *words)
    assert tours.migrations() == ["0001_initial", "0002_note"]
    assert tours.version() == "v2" and tours.lives() == before


def test_a_column_gets_another_name_and_one_comes_that_may_not_be_empty(tours: Tours) -> None:
    with tours.users("updated over bridges"):
        succeeded(tours.update("renamed"))
    assert tours.version() == "renamed" and tours.migrations()[-1] == "0003_contact"
    sound(tours)
    with tours.users("and back over them"):
        succeeded(tours.rollback())
    assert tours.version() == "v2"
    assert (
        tours.sql("SELECT count(*) FROM bookings_booking WHERE email IS DISTINCT FROM contact OR channel IS NULL")
        == "0"
    )
    sound(tours)


def test_a_hotfix_of_code_and_back(tours: Tours) -> None:
    text = (TREE / VIEWS).read_text(encoding="utf-8").replace("good morning", "good evening")
    with tours.users("a hotfix of code"):
        succeeded(hotfix(tours, {VIEWS: text}, hotfix_name="evening"))
    assert tours.health()["greeting"] == "good evening" and tours.leftovers() == []
    with tours.users("and back"):
        succeeded(tours.rollback())
    assert tours.health()["greeting"] == "good morning" and tours.version() == "v2"
    sound(tours)


def test_a_backup_is_restored_and_users_wait(tours: Tours) -> None:
    succeeded(tours.play(playbook="backup"))
    file = max(json.loads(p.read_text())["file"] for p in (tours.root / "backups").glob("*.json"))
    announced = tours.play(playbook="restore", restore_backup=file)
    assert announced.returncode == 2 and "are held for the exchange" in announced.flat, announced.flat[-3000:]
    with tours.load(mix="new=4,keepalive=4,static=1,slow=2") as load:
        play = succeeded(tours.play(playbook="restore", restore_backup=file, restore_allow_downtime=True))
        result = load.stop()
    result = result.judged_by(proxy_log(tours.container(tours.proxy)))
    assert result.failed_beyond_race == 0 and result.total > 0, result.failures[:8]
    assert tours.version() == "v2"
    sound(tours)
    # What was booked before the exchange is in the database that is kept, the rest in the new one; no booking is nowhere.
    (kept,) = set(re.findall(r"is kept as (\S+_before_\d{8}t\d{6}z)", play.flat))
    found = {r for d in (kept, "tours") for r in tours.sql("SELECT reference FROM bookings_booking", d).split()}
    booked = {one.reference for one in [*tours.acknowledged, *load.acknowledged()]}
    assert booked - found == set()
    print(f"\nevidence: restored: {result.total:,} requests, 0 failed, the slowest answer after "
          f"{result.latency_ms['max'] / 1000:.1f} s; {len(booked):,} bookings of its whole life are there")  # fmt: skip
