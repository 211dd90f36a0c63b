# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies whose path changes exactly when the content does, and that are whole or not there."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.host import mounts
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.host.mounts import copy_path, place


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def fill(folder: Path) -> Path:
    (folder / "sub").mkdir(parents=True)
    (folder / "a.conf").write_text("one")
    (folder / "sub/run.sh").write_text("#!/bin/sh\n")
    (folder / "sub/run.sh").chmod(0o755)
    (folder / "link").symlink_to("a.conf")
    return folder


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return fill(tmp_path / "releases/1")


def path_of(source: Path, root: Path) -> str:
    return copy_path(str(source), "/store", str(root))


def retarget(tree: Path) -> None:
    (tree / "link").unlink()
    (tree / "link").symlink_to("sub")


def become_a_folder(tree: Path) -> None:
    (tree / "a.conf").unlink()
    (tree / "a.conf").mkdir()


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda t: (t / "a.conf").write_text("two"),
    "mode": lambda t: (t / "a.conf").chmod(0o640),
    "name": lambda t: (t / "a.conf").rename(t / "b.conf"),
    "place": lambda t: (t / "a.conf").rename(t / "sub/a.conf"),
    "more": lambda t: (t / "empty").touch(),
    "less": lambda t: (t / "link").unlink(),
    "target": retarget,
    "kind": become_a_folder,
    "deep": lambda t: (t / "sub/run.sh").write_text("#!/bin/sh\n\n"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_path_changes_with_what_is_in_it(change: str, tree: Path) -> None:
    before = path_of(tree, tree)
    CHANGES[change](tree)
    assert path_of(tree, tree) != before


def test_the_path_does_not_change_with_anything_else(tree: Path, tmp_path: Path) -> None:
    before = path_of(tree, tree), path_of(tree / "a.conf", tree), path_of(tree / "sub", tree)
    os.utime(tree / "a.conf", (1, 1))
    # What we write into a release is no part of it, and the next release has another name.
    (tree / ".evenkeel").mkdir()
    (tree / ".evenkeel/manifest.json").write_text("{}")
    (tree / "compose.yaml").write_text("x")
    other = tmp_path / "releases/2"
    shutil.copytree(tree, other, symlinks=True)
    assert (path_of(other, other), path_of(other / "a.conf", other), path_of(other / "sub", other)) == before
    # Further down such names are anyone's.
    (tree / "sub/compose.yaml").write_text("x")
    assert path_of(tree, tree) != before[0]


def test_one_content_under_two_names_has_two_places(tree: Path, tmp_path: Path) -> None:
    store = str(tmp_path / "mounts")
    for name in ("x", "y"):
        (tree / name).write_text("same")
    first, second = (place(str(tree / name), store, str(tree))[0] for name in ("x", "y"))
    assert first != second and Path(first).read_text() == Path(second).read_text() == "same"


def test_a_content_that_looks_like_another_entry(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    for name in ("a", "b"):
        (tmp_path / "1" / name).write_text("x")
    header = "/b\0100000\000600\0"
    (tmp_path / "2/a").write_text(f"x{header}x")
    assert path_of(tmp_path / "1", tmp_path / "1") != path_of(tmp_path / "2", tmp_path / "2")


def test_a_copy_is_like_its_source_and_made_once(tree: Path, tmp_path: Path) -> None:
    store = tmp_path / "mounts"
    (tree / "compose.yaml").write_text("x")
    path, made = place(str(tree), str(store), str(tree))
    copy = Path(path)
    assert made and path == copy_path(str(tree), str(store), str(tree))
    assert sorted(p.relative_to(copy).as_posix() for p in copy.rglob("*")) == ["a.conf", "link", "sub", "sub/run.sh"]
    assert os.readlink(copy / "link") == "a.conf"
    assert stat.S_IMODE((copy / "sub/run.sh").stat().st_mode) == 0o755
    # Any user's process in a container reads it, whatever the umask of root is.
    assert [stat.S_IMODE(p.stat().st_mode) for p in (store, copy.parent)] == [0o755, 0o755]
    inode = (copy / "a.conf").stat().st_ino
    assert place(str(tree), str(store), str(tree)) == (path, False)
    assert (copy / "a.conf").stat().st_ino == inode and len(os.listdir(store)) == 1


@pytest.mark.parametrize("step", ["copy_all", "rename"])
def test_what_was_killed_half_way_is_not_there_and_is_swept(
    step: str, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*_args: object, **_how: object) -> None:
        raise Killed

    store = tmp_path / "mounts"
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(mounts.os if step == "rename" else mounts, step, die)
        place(str(tree), str(store), str(tree))
    assert not Path(copy_path(str(tree), str(store), str(tree))).exists()
    path, made = place(str(tree), str(store), str(tree))
    assert made and os.listdir(store) == [Path(path).parent.name]
