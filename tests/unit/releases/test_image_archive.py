# SPDX-License-Identifier: GPL-3.0-or-later
"""Images of the release to go back to, written to files and taken from there; the engine is a dictionary."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import part_files
from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host.files import write_private
from ansible_collections.evenkeel.deploy.plugins.module_utils.base.secret_values import MARK
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.definition import GENERATED
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.engine import EngineFailed
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases import archives
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.host import image_archive
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.host.retention import Used
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.host.store import Store

OLD, NEW = "20261120T080000Z-aaaaaaa", "20261120T090000Z-bbbbbbb"
SHOP, FRONT = "sha256:" + "5" * 64, "sha256:" + "f" * 64


class FakeEngine:
    """Names, and what each image holds; an archive is the id and the content."""

    def __init__(self) -> None:
        self.names = {
            "shop:aaaaaaa": SHOP,
            "worker:aaaaaaa": SHOP,
            "reg:5000/front:1": FRONT,
            "shop:bbbbbbb": "sha256:b",
        }
        self.broken = False
        self.holds = {SHOP: b"shop" * 5000, FRONT: os.urandom(2000)}

    def image(self, name: str) -> dict[str, Any]:
        identity = self.names.get(name) or (name if name in self.names.values() else "")
        return {"Id": identity, "Size": len(self.holds.get(identity, b""))} if identity else {}

    def running(self) -> list[dict[str, Any]]:
        return []

    def parts(self, call: str, what: Any) -> Iterator[Any]:
        yield from getattr(self, call)(what)

    def get_image(self, name: str) -> Iterator[bytes]:
        yield self.names[name].encode()
        if self.broken:
            raise EngineFailed("the connection broke")
        yield self.holds[self.names[name]]

    def load_image(self, stream: Any) -> list[dict[str, str]]:
        identity = gzip.decompress(stream.read())[:71].decode()
        self.names[f"loaded-{len(self.names)}"] = identity
        return [{"stream": "loaded"}]

    def tag(self, image: str, repository: str, tag: str) -> None:
        self.names[f"{repository}:{tag}"] = image

    def prune(self) -> None:
        self.names = {"shop:bbbbbbb": "sha256:b"}


class Fence:
    """Lets everything pass."""

    def act(self, _what: str) -> Any:
        return contextlib.nullcontext()

    def check(self) -> None: ...


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(str(tmp_path))
    for release, images in ((OLD, ["shop:aaaaaaa", "worker:aaaaaaa", "reg:5000/front:1"]), (NEW, ["shop:bbbbbbb"])):
        os.makedirs(os.path.join(made.path_of(release), ".evenkeel"))
        project = {MARK: {}, "services": {f"s{n}": {"image": image} for n, image in enumerate(images)}}
        Path(made.path_of(release), GENERATED).write_text(json.dumps(project))
        manifest = {"id": release, "revision": release[-7:], "state": "verified", "verified": 1.0}
        write_private(os.path.join(made.path_of(release), ".evenkeel/manifest.json"), json.dumps(manifest))
    os.symlink(f"releases/{NEW}", tmp_path / "current")
    return made


def kept(
    store: Store, engine: FakeEngine, release: str = OLD, policy: str = "always", fence: Any = None
) -> dict[str, Any]:
    used = Used(engine, images=frozenset({"sha256:b"}))  # type: ignore[arg-type]
    return image_archive.archive_images(store, engine, used, release, policy, (fence or Fence()).act)  # type: ignore[arg-type]


def folder(store: Store, release: str = OLD) -> Path:
    return Path(store.path_of(release), ".evenkeel/images")


def test_what_is_pruned_comes_back_under_all_its_names(store: Store, engine: FakeEngine) -> None:
    told = kept(store, engine)
    assert told["changed"] and sorted(a["names"] for a in told["archived"]) == [
        ["reg:5000/front:1"], ["shop:aaaaaaa", "worker:aaaaaaa"],
    ]  # fmt: skip
    assert told["bytes"] == sum(p.stat().st_size for p in folder(store).glob("*.tar.gz"))
    assert {oct(p.stat().st_mode)[-3:] for p in folder(store).iterdir()} == {"600"} and "outlives" in told["msg"]
    assert not kept(store, engine)["changed"]
    engine.prune()
    # An archive of what is gone is what it is for, and stays.
    assert not kept(store, engine)["changed"] and "not whole" not in kept(store, engine)["msg"]
    found = image_archive.in_archive(
        store.path_of(OLD), ["shop:aaaaaaa", "worker:aaaaaaa", "reg:5000/front:1", "else:1"]
    )
    assert sorted(found) == ["reg:5000/front:1", "shop:aaaaaaa", "worker:aaaaaaa"]
    image_archive.bring_back(engine, found, Fence())  # type: ignore[arg-type]
    assert (engine.names["worker:aaaaaaa"], engine.names["reg:5000/front:1"]) == (SHOP, FRONT)


def test_one_that_is_damaged_is_refused_by_name(store: Store, engine: FakeEngine) -> None:
    kept(store, engine)
    (path,) = folder(store).glob("5555*.tar.gz")
    whole = path.read_bytes()
    path.write_bytes(whole[:-8] + b"x" * 8)
    engine.prune()
    with pytest.raises(
        BadInput, match=r"shop:aaaaaaa is not on this host any more, and its archive .* is damaged"
    ) as error:
        image_archive.in_archive(store.path_of(OLD), ["shop:aaaaaaa"])
    assert "update_version" in error.value.advice
    path.unlink()
    assert image_archive.in_archive(store.path_of(OLD), ["shop:aaaaaaa"]) == {}
    assert "not whole: shop:aaaaaaa, worker:aaaaaaa is not on this host" in kept(store, engine)["msg"]


def test_one_that_is_torn_is_written_anew_while_the_image_is_there(store: Store, engine: FakeEngine) -> None:
    kept(store, engine)
    (path,) = folder(store).glob("5555*.tar.gz")
    path.write_bytes(path.read_bytes()[:-1])
    assert [a["names"][0] for a in kept(store, engine)["archived"]] == ["shop:aaaaaaa"]


def test_what_goes_wrong_is_said_and_leaves_no_part(store: Store, engine: FakeEngine) -> None:
    engine.broken = True
    told = kept(store, engine)
    assert "they are not archived: the connection broke" in told["msg"] and told["bytes"] == 0
    assert list(folder(store).glob("*.part")) == list(folder(store).glob("*.gz")) == []
    engine.broken = False
    # A killed run could not take its part away; the next one does.
    (folder(store) / "dead.tar.gz.part").touch()
    assert len(kept(store, engine)["archived"]) == 2 and not (folder(store) / "dead.tar.gz.part").exists()


def test_without_room_there_is_none_and_it_is_said(
    store: Store, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_archive.Archive, "disk", lambda self: (300 * 2**20, 20 * 2**30))
    told = kept(store, engine, policy="auto")
    assert not told["changed"], "what cannot be done would be reported as a change for ever"
    assert "300 MiB are free" in told["msg"] and "2048 MiB are to be left" in told["msg"] and not folder(store).exists()
    assert kept(store, engine, policy="always")["bytes"] > 0
    # It becomes full while it is written.
    kept(store, engine, policy="never")
    monkeypatch.setattr(image_archive.Archive, "free", lambda self: 0)
    monkeypatch.setattr(part_files, "LOOK_EVERY", 0)
    told = kept(store, engine, policy="always")
    assert "would be left on the disk" in told["msg"] and list(folder(store).glob("*.gz*")) == []


def test_only_the_release_to_go_back_to_has_one(store: Store, engine: FakeEngine) -> None:
    kept(store, engine)
    assert image_archive.archive_images(store, engine, Used(engine), OLD, "always", None)["changed"] is False  # type: ignore[arg-type]
    told = kept(store, engine, release=NEW)
    assert told["removed"] == [OLD] and not folder(store).exists()
    assert told["archived"] == [], "what a container has nobody can prune"
    kept(store, engine)
    told = kept(store, engine, policy="never")
    assert told["removed"] == [OLD] and told["msg"] == "" and not folder(store).exists()
    assert not kept(store, engine, policy="never")["changed"]


def test_to_look_changes_nothing(store: Store, engine: FakeEngine) -> None:
    told = image_archive.archive_images(store, engine, Used(engine), OLD, "always", None)  # type: ignore[arg-type]
    assert told["changed"] and not folder(store).exists()


@pytest.mark.parametrize(
    ("policy", "size", "free", "fits"),
    [("auto", 300, 4000, True), ("auto", 300, 2200, False), ("always", 300, 600, True), ("always", 300, 500, False)],
)
def test_room_for_everybody_else_is_left(policy: str, size: int, free: int, fits: bool) -> None:
    mib = 2**20
    assert (archives.no_room(policy, size * mib, free * mib, 20480 * mib) == "") is fits
