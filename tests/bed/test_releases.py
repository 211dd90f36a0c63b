# SPDX-License-Identifier: GPL-3.0-or-later
"""What is left on the disk and in the engine after many updates, and that the way back is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.repository import add_commit
from tests.bed.hand_started import COMPOSE
from tests.bed.shop import ROOT, Shop, run
from tests.bed.stacks import changed

_STATIC = "      - static_files:/app/staticfiles\n"


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    made = Shop("releases", {"app_keep_releases": 2})
    made.destroy()
    try:
        yield made.create()
    finally:
        made.destroy()


def images(shop: Shop) -> set[str]:
    """The tags of the shop's own images."""
    listed = run(["docker", "images", "--format", "{{.Repository}}:{{.Tag}}"]).split()
    return {name.rpartition(":")[2] for name in listed if name.startswith(f"{shop.name}-")}


def test_old_releases_go_with_what_only_they_had_and_the_way_back_stays(shop: Shop) -> None:
    tags = []
    compose = (ROOT / "demo/shop" / COMPOSE).read_text(encoding="utf-8")
    mounted = compose.replace(_STATIC, f"{_STATIC}      - ./shop/release.txt:/srv/release.txt:ro\n", 1)
    assert mounted != compose
    for number in range(4):
        tag = f"r{number}"
        add_commit(shop.repository, {"shop/release.txt": str(number), COMPOSE: mounted}, tag, parent="v1")
        tags.append(run(["git", "--git-dir", str(shop.repository), "rev-parse", tag]).strip())
        play = shop.update(tag)
        assert play.returncode == 0, play.output[-5000:]
        assert shop.leftovers() == []
    left = sorted(os.listdir(shop.root / "releases"))
    # Database, broker and proxy were created from the first one, so it stays as well.
    kept_tags = [tags[0], *tags[2:]]
    assert {name.partition("-")[2] for name in left} == {tag[:7] for tag in kept_tags}, left
    assert {tag[:12] for tag in kept_tags} <= images(shop)
    assert tags[1][:12] not in images(shop)
    # Mounted copies: those that the two have, and no more.
    kept = {p.parent.name for release in left for p in copies(shop, shop.root / "releases" / release)}
    assert set(os.listdir(shop.root / "mounts")) == kept and len(kept) == len(left)
    began = {i["Id"] for i in shop.inspections()}
    back = shop.update(tags[2][:12])
    assert back.returncode == 0, back.output[-5000:]
    assert shop.leftovers() == [] and began != {i["Id"] for i in shop.inspections()}
    print(f"\nevidence: after 4 updates {len(left)} releases, {len(kept)} mounted copies; back in {back.seconds:.0f} s")


def copies(shop: Shop, release: Path) -> list[Path]:
    """The mounted copies that a release's Compose file names."""
    text = (release / "compose.yaml").read_text(encoding="utf-8")
    return [p for p in (shop.root / "mounts").glob("*/*") if str(p) in text]


def test_a_release_that_a_container_uses_is_not_taken_away_by_name(shop: Shop) -> None:
    argv = [str(Path(sys.executable).parent / "ansible"), "shop", "-i", str(shop.folder / "inventory.json")]
    argv += ["-m", "evenkeel.deploy.symlink_release", "-a"]
    current = os.readlink(shop.root / "current").rpartition("/")[2]
    for release in os.listdir(shop.root / "releases"):
        arguments = f"path={shop.root} release={release} state=absent"
        done = subprocess.run([*argv, arguments], env=shop.environment, capture_output=True, text=True, check=False)
        assert done.returncode != 0
        reasons = (
            ("is the current one",) if release == current else ("is the one to go back to", "is used by a container")
        )
        said = done.stdout + done.stderr
        assert any(reason in said for reason in reasons), said


def psql(container: str) -> list[str]:
    return ["docker", "exec", container, "psql", "-U", "shop", "-d", "shop", "-qAtc"]


def test_data_in_a_folder_beside_the_compose_file_stays_where_it_is() -> None:
    shop = Shop("pgdata", {"app_keep_releases": 1})
    shop.destroy()
    try:
        shop.create()
        for version in ("v1", "v2", "v3"):
            play = shop.update(changed(shop, version, ["pgdata"]))
            assert play.returncode == 0, play.output[-5000:]
            assert shop.leftovers() == []
            if version == "v1":
                database = shop.container("db")
                run([*psql(database), "CREATE TABLE kept AS SELECT 42 AS answer"])
        assert shop.container("db") == database
        assert run([*psql(database), "SELECT answer FROM kept"]).strip() == "42"
        assert (shop.root / "shared/pgdata/PG_VERSION").exists()
        moved = shop.update("v3")
        assert moved.returncode != 0
        assert all(word in moved.message for word in ("db", "/var/lib/postgresql/data", "pgdata")), moved.output[-3000:]
        assert run([*psql(database), "SELECT answer FROM kept"]).strip() == "42"
    finally:
        shop.destroy()
