# SPDX-License-Identifier: GPL-3.0-or-later
"""A shop whose front end is built by a job: no visitor meets it half done, and nobody but an update starts the job."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from demo.repository import add_commit
from tests.bed.built_frontend import JOB, builds, records, served
from tests.bed.killed_roll import QUICK
from tests.bed.nothing_lost import assert_nothing_lost
from tests.bed.shop import ROOT, Shop, deployed, run
from tests.bed.visitors import Visitors

# A job and what it publishes is in every run by test_jobs.py; a whole front end takes minutes.


@pytest.fixture(scope="module")
def built() -> Iterator[Shop]:
    """A shop with a front end, deployed on an empty folder."""
    # Half done for long enough to be met.
    with deployed("frontend", {"app_services": QUICK}, version="frontend", env="BUILD_SECONDS=3\n") as made:
        yield made


def kept_files(shop: Shop) -> set[str]:
    listing = run(["docker", "exec", shop.container("nginx"), "find", "/srv/frontend/assets", "-name", "*.js"])
    return set(listing.split())


def test_the_first_deployment_builds_once(built: Shop) -> None:
    page = served(built)
    assert page.count("assets/app-") == 12
    assert builds(built) == []
    before = records(built)
    assert len(before) == 1
    record = next((built.root / "releases").glob(f"*/.evenkeel/jobs/{JOB}.json"))
    assert record.stat().st_mode & 0o777 == 0o600
    assert built.leftovers() == []


def test_nobody_but_an_update_starts_the_job(built: Shop) -> None:
    before = {i["Name"]: i["State"]["StartedAt"] for i in built.inspections()}
    built.compose("up", "--detach")
    assert {i["Name"]: i["State"]["StartedAt"] for i in built.inspections()} == before
    assert JOB not in built.compose("ps", "--all")
    # Who names it gets it.
    assert "built assets/app-" in built.compose("run", "--rm", "-T", JOB)
    assert {i["Name"]: i["State"]["StartedAt"] for i in built.inspections()} == before


def changed_over(built: Shop, version: str) -> None:
    """Update under load, with visitors who fetch whole pages; none may meet a missing or a torn file."""
    first = served(built)
    with built.load(seconds=600, rate=40) as load, Visitors(built.port) as visitors:
        play = built.update(version)
        result = load.stop()
    assert play.returncode == 0, play.output[-6000:]
    assert visitors.wrong[:10] == []
    # Both front ends were met, and the files of both were asked for all the time.
    assert len(visitors.pages) == 2 and visitors.files > visitors.visits * 12, visitors
    assert served(built) != first
    assert (built.leftovers(), builds(built)) == ([], [])
    assert_nothing_lost(built, load, result)
    print(f"\n{visitors.visits} visits, {visitors.files} files, 0 wrong; pages {visitors.pages}")


def test_to_the_next_front_end_no_visitor_meets_a_missing_or_torn_file(built: Shop) -> None:
    changed_over(built, "frontend-2")
    assert len(records(built)) == 2


def test_going_back_builds_nothing_and_a_second_run_changes_nothing(built: Shop) -> None:
    for version in ("frontend", "frontend-2"):
        assert built.update(version).returncode == 0
    ran = records(built)
    changed_over(built, "frontend")
    assert records(built) == ran
    again = built.update("frontend")
    assert (again.returncode, again.changed) == (0, 0), again.output[-4000:]


def test_a_job_that_fails_stops_the_update_before_anything_is_replaced(built: Shop) -> None:
    page, before = served(built), {i["Name"]: i["Id"] for i in built.inspections()}
    source = run(["git", "--git-dir", str(built.repository), "show", "frontend-2:frontend/build.py"])
    failing = source.replace("main()\n", 'main()\nprint("out of ideas")\nraise SystemExit(3)\n')
    add_commit(built.repository, {"frontend/build.py": failing}, "frontend-fails", parent="frontend-2")
    with Visitors(built.port) as visitors:
        play = built.update("frontend-fails")
    assert play.returncode != 0
    assert f"{JOB} ended with 3" in play.message and "out of ideas" in play.message, play.output[-3000:]
    assert all(word in play.message for word in ("What:", "Now:", "Next:")), play.message
    assert visitors.wrong == [] and len(visitors.pages) == 1
    assert (served(built), {i["Name"]: i["Id"] for i in built.inspections()}) == (page, before)
    assert (builds(built), built.leftovers()) == ([], [])


def test_a_version_that_fails_after_its_front_end_was_built_is_not_seen(built: Shop) -> None:
    page = served(built)
    crash = (ROOT / "demo/overlays/bad-crash/gunicorn.conf.py").read_text(encoding="utf-8")
    add_commit(built.repository, {"gunicorn.conf.py": crash}, "frontend-crash", parent="frontend-2")
    with Visitors(built.port) as visitors:
        play = built.update("frontend-crash")
    assert play.returncode != 0
    assert visitors.wrong == [] and len(visitors.pages) == 1
    assert (served(built), built.leftovers()) == (page, [])


def test_what_was_published_is_put_back_when_the_look_from_outside_fails(built: Shop) -> None:
    page = served(built)
    with Visitors(built.port) as visitors:
        # Nobody answers there, which only the last look finds out.
        play = built.update("frontend-2", app_health_url=f"{built.url}/nowhere/")
    assert play.returncode != 0
    assert visitors.wrong == []
    assert len(visitors.pages) == 2, "the new front end was seen until it was taken back"
    assert (served(built), built.leftovers(), builds(built)) == (page, [], [])


def test_killed_half_way_the_job_runs_again_on_an_empty_volume(built: Shop) -> None:
    page = served(built)
    add_commit(built.repository, {"frontend/src/app.js": 'console.log("autumn");\n'}, "frontend-3", parent="frontend-2")
    with Visitors(built.port) as visitors:
        process = subprocess.Popen(
            built.playbook_argv(update_version="frontend-3"),
            cwd=ROOT,
            env=built.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        while not (builds(built) and "built assets" in run(["docker", "logs", builds(built)[0]])):
            assert process.poll() is None
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert served(built) == page and len(builds(built)) == 1
        play = built.update("frontend-3")
    assert play.returncode == 0, play.output[-6000:]
    assert visitors.wrong == [] and len(visitors.pages) == 2
    assert served(built) != page
    assert (builds(built), built.leftovers()) == ([], [])


def test_files_go_with_the_last_release_that_had_them(built: Shop) -> None:
    before = kept_files(built)
    assert len(before) == 36, "three front ends were published"
    number = 4
    while kept_files(built) >= before:
        assert number < 12, "files of releases that are gone are still there"
        text = f'console.log("front end {number}");\n'
        add_commit(built.repository, {"frontend/src/app.js": text}, f"frontend-{number}", parent="frontend-2")
        assert built.update(f"frontend-{number}", app_keep_releases=2).returncode == 0
        number += 1
    left = {path.name for path in (built.root / "releases").iterdir()}
    staging = run(["docker", "volume", "ls", "-q", "--filter", f"label=evenkeel.staging={built.name}"]).split()
    # The release that went after the last publication goes with its volume at the next one.
    assert left and len([name for name in staging if not name.endswith(tuple(left))]) <= 1
    named = {f"/srv/frontend/{name}" for name in served(built).split('"') if "assets/" in name}
    assert len(named) == 12 and named <= kept_files(built)
