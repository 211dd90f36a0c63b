# SPDX-License-Identifier: GPL-3.0-or-later
"""What is taken away with old releases, and what is never touched; the engine is one that only answers."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.engine import EngineFailed
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.host import retention
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.host.store import Store

IDS = [f"2026112{n}T000000Z-{n}{n}{n}{n}{n}{n}{n}" for n in range(1, 6)]


class Answers:
    """An engine with containers and images."""

    def __init__(self) -> None:
        self.boxes: list[dict[str, Any]] = []
        self.images = {f"shop-api:{str(n) * 12}": f"sha256:{n}" for n in range(1, 6)}
        self.nameless: list[str] = []
        self.fails = False

    def nameless_images(self, label: str) -> list[str]:
        return self.nameless if label == "evenkeel.project=shop" else []

    def containers(self, _labels: object) -> list[dict[str, Any]]:
        if self.fails:
            raise EngineFailed("the engine does not answer")
        return self.boxes

    def image(self, name: str) -> dict[str, str]:
        return {"Id": self.images[name]} if name in self.images else {}

    def untag(self, name: str) -> None:
        if name in self.nameless:
            self.nameless.remove(name)
        else:
            del self.images[name]


class Old:
    """An app with five releases, each with an image and a mounted copy of its own, and one copy that all have."""

    def __init__(self, root: Path) -> None:
        self.store = Store(str(root))
        self.engine = Answers()
        self.acts: list[str] = []
        for number, release in enumerate(IDS, 1):
            tree = root / "releases" / release
            (tree / ".evenkeel").mkdir(parents=True)
            own, shared = f"{root}/mounts/{str(number) * 64}/conf", f"{root}/mounts/{'a' * 64}/conf"
            for path in (own, shared):
                Path(path).mkdir(parents=True, exist_ok=True)
            services = {
                "api": {"image": f"shop-api:{str(number) * 12}", "volumes": [{"source": own}, {"source": shared}]},
                "db": {"image": "postgres:17"},
            }
            (tree / "compose.yaml").write_text(
                json.dumps({"name": "shop", "x-evenkeel-release": {}, "services": services})
            )
            manifest = {"id": release, "revision": str(number) * 40, "state": "verified", "verified": number}
            (tree / ".evenkeel/manifest.json").write_text(json.dumps(manifest))
        os.symlink(f"releases/{IDS[-1]}", root / "current")
        self.root = root

    def clear(self, keep: int) -> retention.Cleared:
        @contextmanager
        def act(what: str) -> Iterator[None]:
            self.acts.append(what)
            yield

        return retention.clear(self.store, keep, act)

    def left(self) -> list[str]:
        return sorted(os.listdir(self.root / "releases"))

    def mounts(self) -> list[str]:
        return sorted(name[0] for name in os.listdir(self.root / "mounts"))


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Old:
    made = Old(tmp_path / "srv")
    monkeypatch.setattr(retention, "Engine", lambda: made.engine)
    return made


def test_with_a_release_goes_what_only_it_had(old: Old) -> None:
    cleared = old.clear(2)
    assert cleared.releases == IDS[:3] and cleared.notes == [] and cleared.mounts == 3
    assert old.left() == IDS[3:] and old.mounts() == ["4", "5", "a"]
    assert sorted(old.engine.images) == [f"shop-api:{str(n) * 12}" for n in (4, 5)]
    assert len(old.acts) == 6, "each removal is under the lock"
    assert old.clear(2) == retention.Cleared()


def test_what_a_container_runs_or_mounts_stays(old: Old) -> None:
    where = {"com.docker.compose.project.working_dir": str(old.root / "releases" / IDS[0])}
    old.engine.boxes = [
        {"Image": "sha256:2", "Config": {"Labels": where}, "Mounts": []},
        {"Image": "sha256:9", "Config": {}, "Mounts": [{"Source": f"{old.root}/mounts/{'3' * 64}/conf"}]},
    ]
    cleared = old.clear(1)
    assert cleared.releases == IDS[1:3]
    assert old.mounts() == ["1", "3", "4", "5", "a"]
    assert "shop-api:222222222222" in old.engine.images, "it still runs"
    assert "shop-api:333333333333" not in old.engine.images


def test_images_that_a_rebuild_left_without_a_name_go_unless_they_run(old: Old) -> None:
    old.engine.nameless = ["sha256:aaaaaaaaaaaaaaaa", "sha256:bbbbbbbbbbbbbbbb"]
    old.engine.boxes = [{"Image": "sha256:bbbbbbbbbbbbbbbb", "Config": {}, "Mounts": []}]
    assert old.clear(5).images == ["sha256:aaaaaaaaaaaaaaaa"]
    assert old.engine.nameless == ["sha256:bbbbbbbbbbbbbbbb"]


def test_nothing_goes_while_the_engine_cannot_be_asked(old: Old) -> None:
    old.engine.fails = True
    cleared = old.clear(1)
    assert old.left() == IDS and "the engine does not answer" in cleared.notes[0]


def test_what_cannot_go_is_told_and_fails_nothing(old: Old, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: str, **_how: object) -> None:
        raise OSError(28, "No space left on device", path)

    monkeypatch.setattr(retention.shutil, "rmtree", full)
    cleared = old.clear(2)
    assert len(cleared.notes) == 9 and all("No space left" in n for n in cleared.notes)
    assert [n for n in old.left() if not n.startswith(".removing-")] == IDS[3:]
    monkeypatch.undo()
    monkeypatch.setattr(retention, "Engine", lambda: old.engine)
    old.clear(2)
    assert old.left() == IDS[3:]


def test_nothing_beside_it_is_touched(old: Old) -> None:
    (old.root / "mounts/notes.txt").write_text("mine")
    (old.root / "releases/by-hand").mkdir()
    shutil.copytree(old.root / "releases" / IDS[4], old.root / "shared")
    old.clear(1)
    assert (old.root / "mounts/notes.txt").exists() and (old.root / "releases/by-hand").is_dir()
    assert (old.root / "shared/compose.yaml").exists()


# -- without an engine ------------------------------------------------------------------------------------


@pytest.fixture
def plain(old: Old) -> Old:
    """The same without generated projects; one has a ``compose.yaml`` of its own, for its developers."""
    for release in IDS:
        (old.root / "releases" / release / "compose.yaml").unlink()
    (old.root / "releases" / IDS[0] / "compose.yaml").write_text("services: {web: {build: .}}")
    return old


def unasked() -> Answers:
    raise EngineFailed("there is none to ask")


def test_without_an_engine_on_the_host_no_container_uses_anything(plain: Old, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "Engine", unasked)
    monkeypatch.setattr(retention, "has_engine", lambda: False)
    cleared = plain.clear(2)
    assert cleared.releases == IDS[:3] and cleared.notes == []


def test_an_engine_that_is_down_is_not_taken_for_none(plain: Old, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "Engine", unasked)
    monkeypatch.setattr(retention, "has_engine", lambda: True)
    assert "there is none to ask" in plain.clear(2).notes[0] and plain.left() == IDS


def test_what_a_container_mounts_of_a_plain_app_stays(plain: Old, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "has_engine", lambda: True)
    mounted = {"Source": f"{plain.root}/releases/{IDS[1]}/public"}
    plain.engine.boxes = [{"Image": "sha256:9", "Config": {}, "Mounts": [mounted]}]
    assert plain.clear(2).releases == [IDS[0], IDS[2]]


@pytest.mark.parametrize("there", ["program", "socket", "name", "client", "nothing"])
def test_whether_a_host_has_an_engine(there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be stopped; a client alone is none."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    (tmp_path / "bin").mkdir()
    if there == "name":
        monkeypatch.setenv("DOCKER_HOST", "tcp://other:2375")
    elif there == "socket":
        (tmp_path / "docker.sock").touch()
    elif there != "nothing":
        program = tmp_path / "bin" / ("dockerd" if there == "program" else "docker")
        program.touch(0o755)
    found = retention.has_engine(str(tmp_path / "docker.sock"), (str(tmp_path / "bin"),))
    assert found is (there in ("program", "socket", "name"))
