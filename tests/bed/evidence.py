# SPDX-License-Identifier: GPL-3.0-or-later
"""``make evidence``: run the whole matrix on real stacks and write ``docs/evidence.md`` from what was measured.

Cells are run one after the other; ``--only NAME`` runs some, and what was not run says so in the page.
"""

from __future__ import annotations

import argparse
import functools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "collections")]

from tests.bed.evidence_page import sections, versions, written  # noqa: E402 (the line above makes it importable)
from tests.bed.evidence_rows import bad_versions, behind, kills, table, updates, workers  # noqa: E402 (likewise)
from tests.bed.fronts import FRONTS  # noqa: E402 (likewise)
from tests.bed.hotfix_speed import compared  # noqa: E402 (likewise)
from tests.bed.migrations.truth import truth_table  # noqa: E402 (likewise)
from tests.bed.migrations.verdicts import pairs_table  # noqa: E402 (likewise)
from tests.bed.plain_evidence import plain  # noqa: E402 (likewise)
from tests.bed.server_evidence import accidents, accidents_table  # noqa: E402 (likewise)
from tests.bed.switch_race import races  # noqa: E402 (likewise)
from tests.bed.switch_race import table as switch_table  # noqa: E402 (likewise)

MIGRATING = {
    "test_django_migrate",
    "test_migrate_beside_code",
    "test_migration_databases",
    "test_migration_kinds",
    "test_migration_plan",
    "test_migration_reverse",
    "test_migration_runs",
}


def beds(*files: str) -> str:
    """Beds too long for ``make test``, as their test runner counts them."""
    argv = [sys.executable, "-m", "pytest", "-q", "-s", "--tb=short", *files]
    lines = []
    full = {**os.environ, "EVENKEEL_RATE": os.environ.get("EVENKEEL_RATE", "120")}
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=full) as running:
        for line in running.stdout or ():
            # Shown at once: who waits for a bed of half an hour, or has to end it, wants to know how far it came.
            print(line, end="", flush=True)
            lines.append(line.strip())
    told = [line for line in lines if line.startswith("evidence: ")]
    ended = [line for line in lines if line] or ["nothing was said"]
    verdict = f"`{ended[-1].strip('= ')}`" + ("" if running.returncode == 0 else " **not ok**")
    return "\n".join([verdict, "", *(f"- {line.removeprefix('evidence: ')}" for line in told)])


def switch_races() -> str:
    """Ours and the usual ways of switching a link, under readers."""
    found = races()
    ours = found[0]
    verdict = "" if (ours.missing, ours.mixed) == (0, 0) else "\n\n**not ok**"
    return switch_table(found) + verdict


def properties() -> str:
    """Run the simulated histories and their mutants."""
    histories = os.environ.get("EVENKEEL_HISTORIES", "10000")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "tests/property"], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "EVENKEEL_HISTORIES": histories},
    )  # fmt: skip
    ended = done.stdout.strip().splitlines()[-1]
    return f"{histories} simulated rolls, those of locks and guards, and deliberately broken rules: `{ended}`"


def bench() -> str:
    """Run the bench and take over its table."""
    argv = [sys.executable, "tests/bed/bench.py"]
    done = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return f"```\n{done.stdout.strip()}\n```"


CELLS: dict[str, tuple[str, Callable[[], str]]] = {
    "one": (
        "Updates of `api`, worker and scheduler under load, 1 replica",
        lambda: table([updates("evidence-one", "1 replica, one uncached build", 5)]),
    ),
    "two": (
        "The same with 2 replicas",
        lambda: table([updates("evidence-two", "2 replicas, one uncached build", 5, replicas=2)]),
    ),
    "keepalive": (
        "The same with upstream keepalive",
        lambda: table(
            [updates("evidence-keep", "upstream block with keepalive 16", 5, front=FRONTS["upstream keepalive"])]
        ),
    ),
    **{
        f"front-{name.split(',')[0].replace(' ', '-').replace('=', '-')}": (
            f"Behind nginx: {name}",
            functools.partial(behind, FRONTS[name]),
        )
        for name in FRONTS
        if name not in ("plain", "upstream keepalive")
    },
    "fronts-beds": (
        "Neighbours, a foreign reload in the proof, an nginx of the server itself",
        lambda: beds("tests/bed/test_fronts.py", "tests/bed/test_fronts_host.py"),
    ),
    "reader": (
        "The reader of nginx configurations beside crossplane",
        lambda: beds("tests/unit/test_nginx_config.py"),
    ),
    "guard": (
        "A container that comes back at another address, with and without a guard",
        lambda: beds("tests/bed/test_guard.py", "tests/bed/test_guard_unit.py"),
    ),
    "adopt": (
        "Stacks that were started by hand, taken over, updated and brought back",
        lambda: beds("tests/bed/test_adopt.py"),
    ),
    "bad": ("Versions that must not reach a user", lambda: table(bad_versions())),
    "kills": ("Killed at every kind of step, then the same playbook again", lambda: table(kills())),
    "workers": ("Workers with long tasks and a full queue", workers),
    "rehearsal": (
        "An update that is rehearsed: caught on real rows alone, killed, foretold",
        lambda: beds("tests/bed/test_rehearsal.py", "tests/bed/test_rehearsal_managed.py"),
    ),
    "lock": (
        "One change at a time: two at once, zombies, leases, kills with the controller",
        lambda: beds("tests/bed/test_lock.py"),
    ),
    "nginx": (
        "Changes of nginx's configuration, in containers and on a server",
        lambda: beds("tests/bed/test_nginx.py", "tests/bed/test_nginx_host.py"),
    ),
    "workers-beds": (
        "Workers: one that does not start, a verify that fails, a change of mind",
        lambda: beds("tests/bed/test_workers.py"),
    ),
    "docker-group": (
        "Without root: with the group of the engine's socket only",
        lambda: beds("tests/bed/test_docker_group.py"),
    ),
    "server": (
        "A server whose engine ends, whose power goes, whose connection is cut in the middle of an update",
        lambda: accidents_table(accidents()),
    ),
    "stack": (
        "One change of the Compose file, of nginx.conf, of the environment each",
        lambda: beds("tests/bed/test_whole_stack.py"),
    ),
    "frontend": (
        "Jobs, front ends that a service builds, an image that migrates by itself",
        lambda: beds("tests/bed/test_frontend.py", "tests/bed/test_entrypoint.py", "tests/bed/test_jobs.py"),
    ),
    "migrating": (
        "Migrations run beside the code that serves, by versions of Django",
        lambda: beds(
            *(f"tests/bed/{p.name}" for p in sorted((ROOT / "tests/bed").glob("test_*")) if p.stem in MIGRATING)
        ),
    ),
    "killed-migrations": (
        "Migrations and moves of rows killed at each statement, locked out, two at once, by versions of Django",
        lambda: beds("tests/bed/test_migration_crashes.py", "tests/bed/test_data_moves.py"),
    ),
    "migrated": (
        "Updates that migrate, under load: a table of a million orders, a rename over three releases",
        lambda: beds("tests/bed/test_update_migrations.py"),
    ),
    "shards": (
        "Updates that migrate three databases, each order written to all, of which one fails",
        lambda: beds("tests/bed/test_update_shards.py"),
    ),
    "rollback": (
        "Back to a release that is there: twice, killed, pruned of its images, and when it cannot be",
        lambda: beds("tests/bed/test_rollback.py", "tests/bed/test_image_archive.py"),
    ),
    "rollback-from-bad": (
        "Back from each bad state without git and registry, and how long it takes beside the least that it could",
        lambda: beds("tests/bed/test_rollback_from_bad.py"),
    ),
    "newer-tasks": (
        "Back from tasks that older workers do not know, and forward to them: under load, killed, with a dead worker",
        lambda: beds("tests/bed/test_newer_tasks.py"),
    ),
    "update": (
        "Updates of the whole: bad versions, kills in a chain, checks before, what a user sees of it meanwhile",
        lambda: beds("tests/bed/test_update.py", "tests/bed/test_django_check.py", "tests/bed/test_progress.py"),
    ),
    "status": (
        "What status says: of edits, kills, a database that is away, a server that was started anew",
        lambda: beds("tests/bed/test_status.py", "tests/bed/test_status_reboot.py"),
    ),
    "hotfix": (
        "Hotfixes under load, of uploads and built files too: refused, killed in each step, two at once, gone back from, never lost",
        lambda: beds(
            "tests/bed/test_hotfix.py",
            "tests/bed/test_hotfix_files.py",
            "tests/bed/test_hotfix_source.py",
            "tests/bed/test_hotfix_translations.py",
            "tests/bed/test_hotfix_ways.py",
            "tests/bed/test_hotfix_database.py",
            "tests/bed/test_hotfix_in_place.py",
            "tests/bed/test_hotfix_database_server.py",
        ),
    ),
    "hotfix-speed": (
        "Small changes to production: by a bare shell and by role hotfix",
        compared,
    ),
    "backup": (
        "Backups: what is not whole, disks that are full, kills, a server that is restarted or elsewhere, and the way back",
        lambda: beds(
            "tests/bed/test_backup.py",
            "tests/bed/test_backup_managed.py",
            "tests/bed/test_restore.py",
            "tests/bed/test_restore_plain.py",
            "tests/bed/test_restore_load.py",
            "tests/bed/test_update_backup.py",
        ),
    ),
    "first": (
        "From an empty folder to a shop that serves, killed in each step",
        lambda: beds("tests/bed/test_first_start.py"),
    ),
    "small": (
        "A server of 2 GB; a disk that is full; somebody who prunes everything",
        lambda: beds("tests/bed/test_small_server.py"),
    ),
    "releases": (
        "Releases on the disk and in the engine",
        lambda: beds("tests/bed/test_releases.py"),
    ),
    "plain": (
        "Without an engine: PHP under load while its release changes, and kills between any two steps",
        lambda: f"{plain()}\n\n{beds('tests/bed/test_plain_sites.py', 'tests/bed/test_plain_release.py')}",
    ),
    "migrations": ("Migrations: what was said of them, and what they do", truth_table),
    "pairs": ("Pairs of releases: whether older code can come back, and what it then does", pairs_table),
    "switch": ("Readers while the current release is switched", switch_races),
    "properties": ("Simulated histories", properties),
    "bench": ("Beside the usual ways", bench),
}


def main() -> int:
    """Run the cells and write the page; returns 1 where a cell did not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=sorted(CELLS), default=[])
    chosen = parser.parse_args().only or list(CELLS)
    page = ROOT / "docs/evidence.md"
    titles = {name: title for name, (title, _cell) in CELLS.items()}
    known = sections(page.read_text(encoding="utf-8"), titles)
    failed = False
    for name in chosen:
        print(f"== {CELLS[name][0]}", flush=True)
        try:
            known[name] = f"{versions()}\n\n{CELLS[name][1]()}"
        except Exception as error:  # the other cells are still worth running, and the page says it
            known[name] = f"{versions()}\n\nThis cell failed: {error}"
            failed = True
        failed = failed or "**not ok**" in known[name]
        print(known[name], flush=True)
        page.write_text(written(known, titles), encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
