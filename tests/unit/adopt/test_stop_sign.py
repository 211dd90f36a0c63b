# SPDX-License-Identifier: GPL-3.0-or-later
"""A stop sign takes a Compose file's place: Compose refuses it, says why, and the file comes back as it was."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.adopt.host import stop_sign
from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput

TEXT = "services: {api: {image: x}}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "docker-compose.prod.yml"
    path.write_text(TEXT)
    path.chmod(0o640)
    return path


def test_compose_refuses_whatever_is_called_with_it(file: Path) -> None:
    stop_sign.put([str(file)], "shop", '/srv/it\'s ${x} "shop"')
    for command in (["up", "-d", "--remove-orphans"], ["down"], ["config", "--quiet"]):
        argv = ["docker", "compose", "-p", "evenkeel-nobody", "-f", str(file), *command]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode != 0 and "shop is run by evenkeel" in done.stderr, done.stderr
        assert "evenkeel.deploy.update" in done.stderr and "invalid" not in done.stderr


def test_it_comes_back_as_it_was(file: Path) -> None:
    before = file.stat()
    assert stop_sign.lacking([str(file)]) == [str(file)]
    stop_sign.put([str(file)], "shop", "/srv/shop")
    assert stop_sign.lacking([str(file)]) == [] and file.read_text() != TEXT
    assert (file.stat().st_mode, file.stat().st_uid) == (before.st_mode, before.st_uid)
    assert Path(f"{file}.adopted").read_text() == TEXT
    assert stop_sign.take_away([str(file)]) == []
    assert file.read_text() == TEXT and file.stat().st_ino == before.st_ino and os.listdir(file.parent) == [file.name]
    assert stop_sign.take_away([str(file)]) == []


def test_a_killed_call_is_taken_up_and_a_link_stays_one(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = file.parent / "compose.yml"
    link.symlink_to(file.name)

    def killed(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(stop_sign, "write_below", killed)
        stop_sign.put([str(link)], "shop", "/srv/shop")
    assert link.read_text() == TEXT
    stop_sign.put([str(link)], "shop", "/srv/shop")
    assert file.read_text() == TEXT and link.read_text() != TEXT
    stop_sign.take_away([str(link)])
    assert link.is_symlink() and sorted(os.listdir(file.parent)) == [link.name, file.name]


def test_what_somebody_wrote_stays(file: Path) -> None:
    Path(f"{file}.adopted").write_text("another\n")
    with pytest.raises(BadInput, match=r"\.adopted is there already"):
        stop_sign.put([str(file)], "shop", "/srv/shop")
    assert file.read_text() == TEXT
    Path(f"{file}.adopted").unlink()
    stop_sign.put([str(file)], "shop", "/srv/shop")
    file.write_text("new: 1\n")
    (note,) = stop_sign.take_away([str(file)])
    assert "was written since" in note and file.read_text() == "new: 1\n" and Path(f"{file}.adopted").exists()


def test_what_git_makes_of_it_is_said(file: Path) -> None:
    folder = str(file.parent)
    assert stop_sign.of_git(folder, [str(file)]) == ""
    subprocess.run(["git", "init", "-q", folder], check=True)
    assert stop_sign.of_git(folder, [str(file)]) == ""
    subprocess.run(["git", "-C", folder, "add", file.name], check=True)
    assert f"shows {file.name} as changed" in stop_sign.of_git(folder, [str(file)])
