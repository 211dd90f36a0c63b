# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders that others can change: no link of theirs is followed, and what is no file is neither waited for nor read."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import directory_handles as subject
from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import files
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host import live_root
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.host import environment, thin_image
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.host.store import Store

NOBODY = 65534


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/shadow").write_text("root's own")
    return tmp_path / "etc"


def link_of_another(path: Path, target: Path | str) -> None:
    path.symlink_to(target)
    os.lchown(path, NOBODY, NOBODY)


# -- which links are followed ------------------------------------------------------------------------------


def test_a_link_of_root_s_is_followed_and_one_of_another_is_not(tmp_path: Path, victim: Path) -> None:
    (tmp_path / "ours").symlink_to("etc")
    link_of_another(tmp_path / "theirs", victim)
    with subject.open_folder(str(tmp_path / "ours")) as folder:
        assert os.listdir(folder) == ["shadow"]
    for path in ("theirs", "theirs/below"):
        with pytest.raises(subject.LinkMet), subject.open_folder(str(tmp_path / path), make=0o755):
            pass
    assert os.listdir(victim) == ["shadow"]


def test_a_link_in_a_folder_of_another_is_not_followed_though_its_number_is_root_s(
    tmp_path: Path, victim: Path
) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/link").symlink_to(victim)
    os.chown(tmp_path / "theirs", NOBODY, NOBODY)
    with pytest.raises(subject.LinkMet), subject.open_folder(str(tmp_path / "theirs/link")):
        pass


@pytest.mark.parametrize("path", ["link", "link/x", "../etc", "folder/../../etc"])
def test_below_a_folder_nothing_leads_out(path: str, tmp_path: Path, victim: Path) -> None:
    (tmp_path / "top/folder").mkdir(parents=True)
    (tmp_path / "top/link").symlink_to(victim)
    with (
        subject.open_folder(str(tmp_path / "top")) as top,
        pytest.raises(subject.LinkMet),
        subject.open_below(top, path, make=0o755),
    ):
        pass


@pytest.mark.parametrize(
    ("target", "read"),
    [("../b/file", b"x"), ("/etc/hostname", None), ("../../etc/shadow", None), ("loop", None), ("../b", None)],
)
def test_a_link_inside_is_followed_inside_only(target: str, read: bytes | None, tmp_path: Path, victim: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "top" / name).mkdir(parents=True)
    (tmp_path / "top/b/file").write_bytes(b"x")
    (tmp_path / "top/a/loop").symlink_to("loop")
    (tmp_path / "top/a/link").symlink_to(target)
    with subject.open_folder(str(tmp_path / "top")) as top:
        if read is None:
            with pytest.raises(OSError, match=r"link|folder|no regular file"):
                subject.open_inside(top, "a/link")
        else:
            with subject.open_inside(top, "a/link") as stream:
                assert stream.read() == read


# -- writing ----------------------------------------------------------------------------------------------


def test_what_is_written_is_whole_and_has_owner_and_mode(tmp_path: Path, victim: Path) -> None:
    (tmp_path / "file").symlink_to(victim / "shadow")
    with subject.open_folder(str(tmp_path)) as folder:
        subject.write_below(folder, "file", b"new", 0o640, (NOBODY, NOBODY))
    known = (tmp_path / "file").lstat()
    assert (stat.S_IMODE(known.st_mode), known.st_uid) == (0o640, NOBODY) and stat.S_ISREG(known.st_mode)
    assert (victim / "shadow").read_text() == "root's own"
    assert sorted(os.listdir(tmp_path)) == ["etc", "file"]


def test_a_copy_is_like_its_source_and_refuses_what_is_neither(tmp_path: Path) -> None:
    (tmp_path / "from/sub").mkdir(parents=True)
    (tmp_path / "from/sub/x").write_text("x")
    (tmp_path / "from/sub/x").chmod(0o750)
    (tmp_path / "from/sub").chmod(0o711)
    (tmp_path / "from/link").symlink_to("sub/x")
    (tmp_path / "to").mkdir()
    with subject.open_folder(str(tmp_path / "from")) as source, subject.open_folder(str(tmp_path / "to")) as target:
        subject.copy_all(source, target)
        assert os.readlink(tmp_path / "to/link") == "sub/x"
        for path in ("sub", "sub/x"):
            known, copy = (tmp_path / "from" / path).stat(), (tmp_path / "to" / path).stat()
            assert (known.st_mode, known.st_mtime_ns) == (copy.st_mode, copy.st_mtime_ns)
        os.mkfifo(tmp_path / "from/pipe")
        with pytest.raises(OSError, match="no regular file"):
            subject.copy_below(source, "pipe", target)


def test_a_private_file_is_not_written_through_a_link_of_another(tmp_path: Path, victim: Path) -> None:
    link_of_another(tmp_path / "state", victim)
    with pytest.raises(OSError, match="a link is on the way"):
        files.write_private(str(tmp_path / "state/journal"), "x")
    with pytest.raises(files.FilesFailed, match="a link is on the way"):
        files.private_directory(str(tmp_path / "state/operations"))
    assert os.listdir(victim) == ["shadow"]


def test_the_environment_of_a_hotfix_is_not_read_through_a_link_of_another(
    tmp_path: Path, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = tmp_path / "releases/1"
    (release / ".evenkeel").mkdir(parents=True)
    (release / ".evenkeel/manifest.json").write_text(json.dumps({"hotfix": {"env_file": ".env"}}))
    (release / ".env").write_text("A=2")
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/.env").write_text("A=1")
    looked = os.path.islink

    def exchanged(path: str) -> bool:
        found = looked(path)
        if path == str(release / ".env"):
            (release / ".env").unlink()
            link_of_another(release / ".env", victim / "shadow")
        return found

    with monkeypatch.context() as patch, pytest.raises(OSError, match="symbolic links"):
        patch.setattr(os.path, "islink", exchanged)
        environment.bring(Store(str(tmp_path)), "1")
    assert (tmp_path / "shared/.env").read_text() == "A=1"


# -- pipes and devices --------------------------------------------------------------------------------------


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("plant", [a_pipe, a_link_to_a_device])
def test_what_is_no_file_is_neither_waited_for_nor_read(plant: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "file"
    plant(path)
    assert thin_image.plain_file(str(tmp_path), "file") is None
    assert files.read_json(str(path)) == {}
    with pytest.raises(OSError, match="no regular file"):
        subject.read_file(str(path))
    with pytest.raises(live_root.RootFailed):
        live_root.LiveRoot(0, str(tmp_path)).content("/file")
    assert files.write_private(str(path), "x") and path.read_text() == "x"
