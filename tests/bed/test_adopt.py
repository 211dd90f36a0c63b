# SPDX-License-Identifier: GPL-3.0-or-later
"""A stack that was started by hand is taken over as it runs, then updated and brought back, and nothing is lost by it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from demo.repository import add_commit
from tests.bed.fronts import edited
from tests.bed.hand_started import COMPOSE, HandStarted
from tests.bed.killed_roll import QUICK
from tests.bed.nothing_lost import assert_nothing_lost
from tests.bed.shop import Play, run

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
