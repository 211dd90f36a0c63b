# SPDX-License-Identifier: GPL-3.0-or-later
"""Private files: whole or not at all, for their owner only, one writer at a time."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import files
from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host.files import (
    FilesFailed,
    private_directory,
    read_json,
    secret_key,
    write_private,
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(autouse=True)
def _careless_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def test_a_private_directory(tmp_path: Path) -> None:
    path = tmp_path / "state" / "app"
    assert private_directory(str(path)) == str(path)
    assert mode(path) == 0o700
    (path / "kept").touch()
    private_directory(str(path))
    assert (path / "kept").exists()


def test_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    with pytest.raises(FilesFailed, match=r"the state directory .*/state/x cannot be made: Not a directory; run with"):
        private_directory(str(tmp_path / "state" / "x"))
    with pytest.raises(FilesFailed, match="cannot be made: Not a directory"):
        private_directory(str(tmp_path / "state"))


def test_a_directory_of_somebody_else_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_args: False)
    with pytest.raises(FilesFailed, match="cannot be written to; run with become: true or name another as state_dir"):
        private_directory(str(tmp_path))


def test_a_private_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    assert write_private(str(path), "one\n") is True
    assert (path.read_text(), mode(path)) == ("one\n", 0o600)
    inode = path.stat().st_ino
    assert write_private(str(path), "one\n") is False
    assert path.stat().st_ino == inode
    assert write_private(str(path), "\u20ac\n") is True
    assert (path.read_text("utf-8"), mode(path)) == ("\u20ac\n", 0o600)
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("content", [b"one\n", b"\xff\xfe", b""])
def test_a_file_that_others_could_read_is_private_afterwards(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    path.chmod(0o644)
    assert write_private(str(path), "one\n") is (content != b"one\n")
    assert (path.read_text(), mode(path)) == ("one\n", 0o600)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_what_fails_half_way_leaves_the_old_file_and_nothing_else(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    write_private(str(path), "old")

    def fail(*_args: object, **_how: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, step, fail)
    with pytest.raises(OSError, match="No space left"):
        write_private(str(path), "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x"]


def test_a_link_is_replaced_and_never_written_through(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("theirs")
    link.symlink_to(target)
    write_private(str(link), "ours")
    assert (target.read_text(), link.read_text(), link.is_symlink()) == ("theirs", "ours", False)


@pytest.mark.parametrize("text", ['{"a": 1', "", "[1]", "null", "\0", '{"a": "\udcff"}'])
def test_a_torn_file_is_no_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    assert read_json(str(path)) == {}
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert read_json(str(path)) == {}
    path.write_text('{"a": 1}')
    assert read_json(str(path)) == {"a": 1}


def test_the_key_is_made_once_and_private(tmp_path: Path) -> None:
    key = secret_key(str(tmp_path))
    assert len(key) == 64 and secret_key(str(tmp_path)) == key
    assert mode(tmp_path / "fingerprint.key") == 0o600
    other = tmp_path / "other"
    other.mkdir()
    assert secret_key(str(other)) != key
