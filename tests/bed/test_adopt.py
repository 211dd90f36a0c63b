# SPDX-License-Identifier: GPL-3.0-or-later
"""A stack that was started by hand is taken over as it runs, then updated and brought back, and nothing is lost by it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from demo.repository import add_commit
from tests.bed.fronts import edited
from tests.bed.hand_started import COMPOSE, HandStarted
from tests.bed.killed_roll import QUICK
from tests.bed.nothing_lost import assert_nothing_lost
from tests.bed.shop import Play, run
from tests.bed.shop_releases import forward

_STANDING = ("db", "redis", "nginx")


def started(name: str, **options: Any) -> HandStarted:
    made = HandStarted(name, **options)
    made.destroy()
    return made


@pytest.fixture(scope="module")
def shop() -> Iterator[HandStarted]:
    """A checkout with nothing changed in it, whose containers run."""
    made = started("adopt")
    try:
        yield made.create().start()
    finally:
        made.destroy()


def manifest(shop: HandStarted) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((shop.root / "current/.evenkeel/manifest.json").read_text())
    return found


def ok(play: Play) -> Play:
    assert play.returncode == 0, play.output[-6000:]
    return play


def there_and_back(shop: HandStarted, version: str = "v2") -> None:
    """To v2 and back again; database, broker and proxy stay what they are."""
    standing = shop.lives(*_STANDING)
    ok(shop.update(version, app_services=QUICK))
    assert shop.version() == "v2" and shop.leftovers() == []
    assert shop.lives(*_STANDING) == standing
    ok(shop.rollback(app_services=QUICK))
    assert shop.version() == "v1" and shop.leftovers() == []
    assert shop.lives(*_STANDING) == standing


def adopted(shop: HandStarted, **variables: Any) -> Play:
    """Adopt what runs: no container is touched, and nothing in its folder."""
    before, tree = shop.lives(), shop.tree()
    play = ok(shop.adopt(**variables))
    assert shop.lives() == before and shop.tree() == tree
    assert manifest(shop)["state"] == "verified" and shop.leftovers() == []
    return play


def by_hand(shop: HandStarted, *words: str) -> subprocess.CompletedProcess[str]:
    """What an old script does in the folder."""
    argv = ["docker", "compose", "-p", shop.name, "-f", COMPOSE, *words]
    return subprocess.run(argv, cwd=shop.home, capture_output=True, text=True, timeout=300, check=False)


@contextmanager
def script_and_cron_line(shop: HandStarted) -> Iterator[tuple[Path, Path]]:
    """A script beside the Compose file and a line of cron; no cron runs it: no such day, and no such name of a file."""
    script, table = shop.home / "deploy.sh", Path(f"/etc/cron.d/{shop.name}.bed")
    script.write_text(f"#!/bin/sh\nDB_PASSWORD=hidden123 docker compose -f {COMPOSE} up -d\n")
    table.write_text(
        f"0 0 30 2 * root cd {shop.home} && docker compose -f {COMPOSE} exec -T api python manage.py check\n"
    )
    try:
        yield script, table
    finally:
        script.unlink()
        table.unlink()


def refused_with_the_message(shop: HandStarted) -> None:
    """Whatever is called in the folder is refused, and no container is another one."""
    before = shop.lives()
    for words in (("up", "-d"), ("down",), ("restart", "api")):
        done = by_hand(shop, *words)
        assert done.returncode != 0 and f"{shop.name} is run by evenkeel from {shop.root}" in done.stderr, done.stderr
    assert shop.lives() == before
    assert "api" in run(["docker", "compose", "-p", shop.name, "ps", "--services"], cwd="/")


def test_what_cannot_be_adopted_is_refused_before_anything_is_touched(shop: HandStarted) -> None:
    before, tree = shop.lives(), shop.tree()
    assert "there run: " in shop.adopt(app_name="evenkeel-nobody").message
    assert "is the folder that runs" in shop.adopt(app_root=str(shop.home)).message
    assert "lies in the folder that runs" in shop.adopt(app_root=str(shop.home / "srv")).message
    assert "was not started from /srv" in shop.adopt(adopt_folder="/srv").message
    assert f"set app_compose_files: [{COMPOSE}]" in shop.adopt(app_compose_files=["compose.yml"]).message
    compose = shop.home / COMPOSE
    text = compose.read_text()
    compose.write_text(text.replace("stop_grace_period: 60s", "stop_grace_period: 61s"))
    differs = shop.adopt()
    compose.write_text(text)
    assert differs.returncode != 0 and "is not what runs: celery\n" in differs.message, differs.output[-3000:]
    assert not shop.root.exists() and shop.lives() == before and shop.tree() == tree
    assert not (shop.home / ".evenkeel").exists()


def test_a_checkout_is_adopted_given_up_and_adopted_again(shop: HandStarted) -> None:
    before = shop.lives()
    looked = ok(shop.adopt("--check", "--diff"))
    assert "would be adopted" in looked.output and not shop.root.exists()
    play = adopted(shop)
    assert "no container is touched" in play.output
    assert manifest(shop)["revision"] == run(["git", "-C", str(shop.home), "rev-parse", "HEAD"]).strip()
    for private in ("current/compose.yaml", "current/.evenkeel/env", "shared/.env"):
        assert (shop.root / private).stat().st_mode & 0o777 == 0o600
    assert ok(shop.adopt()).changed == 0
    ok(shop.adopt(adopt_state="absent"))
    assert shop.lives() == before and sorted(p.name for p in shop.root.iterdir()) == [".evenkeel"]
    assert run(["docker", "images", "--quiet", f"{shop.name}-api:{'?' * 12}"]) == ""
    assert ok(shop.adopt(adopt_state="absent")).changed == 0


def test_old_commands_are_found_and_refused_until_it_is_given_up(shop: HandStarted) -> None:
    with script_and_cron_line(shop) as (script, table):
        tree = shop.tree()
        told = adopted(shop).flat
        assert f"{script}:2: DB_PASSWORD=<DB_PASSWORD> docker compose -f {COMPOSE} up -d" in told
        assert "hidden123" not in told and f"{table}:1: 0 0 30 2 * root cd {shop.home}" in told
        signed = ok(shop.adopt(adopt_stop_sign=True))
        assert "git status in" in signed.flat and signed.changed
        refused_with_the_message(shop)
        assert ok(shop.adopt(adopt_stop_sign=True)).changed == 0
        ok(shop.adopt(adopt_state="absent"))
        assert shop.tree() == tree
    # Both at once.
    lives = shop.lives()
    ok(shop.adopt(adopt_stop_sign=True))
    refused_with_the_message(shop)
    ok(shop.adopt(adopt_state="absent"))
    assert shop.lives() == lives and by_hand(shop, "up", "-d").returncode == 0 and shop.lives() == lives


def test_hand_edits_are_reported_and_kept_as_commits(shop: HandStarted) -> None:
    commit = run(["git", "-C", str(shop.home), "rev-parse", "HEAD"]).strip()
    (shop.home / "README.md").write_text("by hand\n")
    (shop.home / "new.txt").write_text("new\n")
    views = f"{run(['docker', 'exec', shop.container('api'), 'pwd']).strip()}/shop/health.py"
    # What is written as a container starts is an entrypoint's work.
    script = f"sleep 16; echo '# by hand' >> {views}"
    run(["docker", "exec", "-u", "0", shop.container("api"), "sh", "-c", script])
    play = adopted(shop, adopt_capture=True)
    assert "README.md" in play.output and "new.txt" in play.output and f"{views} changed" in play.output
    git = ["git", "--git-dir", str(shop.root / "mirror.git")]
    (ref,) = run([*git, "for-each-ref", "--format=%(refname:lstrip=1)", "refs/adopted"]).split()
    assert run([*git, "diff", "--name-only", commit, ref]).split() == ["README.md", "new.txt", "shop/health.py"]
    assert run([*git, "show", f"{ref}:shop/health.py"]).endswith("# by hand\n")
    assert (shop.root / "current/README.md").read_text() == "by hand\n"
    assert manifest(shop)["adopted"]["commit"] == commit != manifest(shop)["revision"]


def test_it_is_updated_and_brought_back_though_it_was_started_elsewhere(shop: HandStarted) -> None:
    there_and_back(shop)
    refused = shop.adopt(adopt_state="absent")
    assert refused.returncode != 0 and "made from releases" in refused.message, refused.output[-3000:]
    # A later update fetches, and what was captured is still there.
    assert run(["git", "--git-dir", str(shop.root / "mirror.git"), "for-each-ref", "refs/adopted"]).strip()


def test_what_the_old_folder_has_replaced_is_told_mended_and_refused_from_then_on(shop: HandStarted) -> None:
    ok(forward(shop, "v2"))
    before = shop.lives()
    assert "old folder" not in shop.play(playbook="status").output
    done = by_hand(shop, "up", "-d", "--wait")
    assert done.returncode == 0 and shop.version() == "v1", done.stderr
    standing = shop.lives(*_STANDING)
    # It took nginx as well, and left data alone.
    assert {s for s, life in shop.lives().items() if life != before[s]} >= {"api", "celery", "nginx"}, before
    assert all(standing[s] == before[s] for s in ("db", "redis"))
    told = shop.play(playbook="status", status_format="json").flat
    assert f"docker compose was run in {shop.home}" in told and "adopt_stop_sign=true" in told, told[-3000:]
    (revision,) = {manifest(shop)["revision"][:12]}
    assert f"update_version={revision}" in told
    with shop.load() as load:
        ok(shop.update(revision, app_services=QUICK))
        result = load.stop()
    assert shop.version() == "v2" and shop.leftovers() == [] and shop.lives(*_STANDING) == standing
    assert_nothing_lost(shop, load, result)
    assert "docker compose was run in" not in shop.play(playbook="status").flat
    # A stop sign is set without another release becoming active, and nothing of ours reads what it stands for.
    lives, release = shop.lives(), (shop.root / "current").readlink()
    ok(shop.adopt(adopt_stop_sign=True))
    assert shop.lives() == lives and (shop.root / "current").readlink() == release
    refused_with_the_message(shop)
    there = ok(shop.rollback(app_services=QUICK))
    assert shop.version() == "v1" and shop.leftovers() == [], there.output[-3000:]
    ok(forward(shop, "v2"))
    assert shop.version() == "v2" and shop.lives(*_STANDING) == standing
    status = shop.play(playbook="status").flat
    assert "cannot be seen" not in status and "old folder" not in status, status[-3000:]


@pytest.mark.parametrize("form", ["checkout", "no-git", "named", "siblings", "data"])
def test_each_way_in_which_people_run_it_under_load(form: str) -> None:
    named = [
        (f"\n  {s}:\n    ", f"\n  {s}:\n    container_name: evenkeel-adopt-{s}\n    ") for s in ("db", "nginx", "api")
    ]
    data = [("      - pgdata:/var/lib/postgresql/data\n", "      - ./pgdata:/var/lib/postgresql/data\n")]
    edits = {"named": named, "data": data}.get(form, [])
    shop = started(f"adopt-{form}", place="app_v3" if form == "siblings" else "app", edits=edits)
    try:
        shop.create(git=form != "no-git")
        if form == "siblings":
            own, shared = shop.home / ".env", shop.home.parent / "app_shared/env/.env"
            shared.parent.mkdir(parents=True)
            shutil.move(own, shared)
            own.symlink_to("../app_shared/env/.env")
        shop.start()
        if edits:
            add_commit(shop.repository, {COMPOSE: edited(shop, f"v2:{COMPOSE}", edits)}, "v2-so", parent="v2")
        with shop.load() as load:
            adopted(shop)
            there_and_back(shop, "v2-so" if edits else "v2")
            result = load.stop()
        assert_nothing_lost(shop, load, result)
        print(f"\nevidence: {form}: adopted, to v2 and back to v1: {result.total:,} requests, 0 failed")
    finally:
        shop.destroy()
