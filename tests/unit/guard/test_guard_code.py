# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard's code on a target: just that, nobody else's to change, and whole after a kill at any point."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.guard.host import code
from ansible_collections.evenkeel.deploy.plugins.module_utils.guard.host.code import install


def put(folder: Path, check: bool = False) -> bool:
    return bool(install(str(folder), check)["changed"])


def test_it_runs_from_there_and_a_second_call_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "lib/0.1.0"
    assert put(folder, check=True) and not folder.parent.exists()
    before = os.umask(0o077)
    try:
        assert put(folder) and not put(folder) and not put(folder, check=True)
    finally:
        os.umask(before)
    assert (folder.stat().st_mode | (folder / "evenkeel/base/host").stat().st_mode) & 0o777 == 0o755
    argv = [sys.executable, "-s", "-B", "-m", "evenkeel.guard.host.guard", "--help"]
    assert "--state-dir" in subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=True).stdout
    assert os.listdir(folder.parent) == ["0.1.0"]


@pytest.mark.parametrize("what", ["changed", "gone", "more", "writable", "a link"])
def test_whatever_is_not_as_it_should_be_is_written_anew(tmp_path: Path, what: str) -> None:
    put(tmp_path / "lib")
    file = tmp_path / "lib/evenkeel/operation/host/journal.py"
    if what == "changed":
        file.write_text("import os")
    elif what == "more":
        (tmp_path / "lib/docker.py").write_text("")
    elif what == "writable":
        file.chmod(0o666)
    else:
        file.unlink()
        if what == "a link":
            file.symlink_to("/etc/hostname")
    assert put(tmp_path / "lib") and not put(tmp_path / "lib")


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_call_that_was_killed_leaves_what_the_next_one_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    put(tmp_path / "lib")
    (tmp_path / "lib/evenkeel/operation/host/journal.py").write_text("older")
    acts = 0

    def killed(act: str) -> None:
        nonlocal acts
        acts += 1
        if acts == nth:
            raise KeyboardInterrupt(act)

    real, remove = os.rename, code.shutil.rmtree
    monkeypatch.setattr(code.os, "rename", lambda *paths: (killed("rename"), real(*paths)))
    monkeypatch.setattr(code.shutil, "rmtree", lambda path: (killed("rmtree"), remove(path)))
    with pytest.raises(KeyboardInterrupt):
        put(tmp_path / "lib")
    monkeypatch.undo()
    put(tmp_path / "lib")
    assert not put(tmp_path / "lib") and os.listdir(tmp_path) == ["lib"]


def test_where_it_cannot_be_written_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot be written"):
        put(tmp_path / "file/lib")
