# SPDX-License-Identifier: GPL-3.0-or-later
"""What a container's own layer says, by folders; ``tests/bed/test_drift.py`` holds it against a real engine."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.overlay import changed_paths, in_layer

OWN, UPPER, LOWER = "own", "upper", "lower"


@pytest.fixture
def layers(tmp_path: Path) -> Path:
    """A layer over two, of which the lower one has what the upper one has taken away."""
    for path in ("own/app/new", "own/app", "upper/app", "lower/app/deep"):
        (tmp_path / path).mkdir(parents=True, exist_ok=True)
    for path in ("own/app/a.py", "own/app/new/b.py", "upper/app/a.py", "lower/app/gone.py", "own/app/gone.py"):
        (tmp_path / path).write_text(path)
    (tmp_path / "lower/app/deep/c.py").write_text("c")
    return tmp_path


def whiteout(path: Path) -> None:
    os.mknod(path, stat.S_IFCHR | 0o600, 0)


def told(layers: Path) -> dict[str, str] | None:
    return in_layer(str(layers / OWN), [str(layers / UPPER), str(layers / LOWER)])


def test_what_is_added_changed_and_removed(layers: Path) -> None:
    whiteout(layers / "upper/app/gone.py")
    whiteout(layers / "own/app/deep")
    whiteout(layers / "own/nothing")
    assert told(layers) == {
        "/app/a.py": "changed",
        "/app/new": "added",
        "/app/new/b.py": "added",
        # The image has taken it away, so the container has made it.
        "/app/gone.py": "added",
        "/app/deep": "removed",
    }


def test_a_name_that_is_no_text_is_told_as_the_engine_does(layers: Path) -> None:
    Path(os.fsdecode(os.fsencode(layers / OWN) + b"/\xff")).touch()
    assert (told(layers) or {})["/\ufffd"] == "added"


def test_a_file_in_the_place_of_a_folder_is_left_to_the_engine(layers: Path) -> None:
    (layers / "own/app/deep").write_text("")
    assert told(layers) is None


def test_folders_within_folders_without_end_are_read(layers: Path) -> None:
    folder = os.open(layers / OWN, os.O_RDONLY)
    for _level in range(1500):
        os.mkdir("d", dir_fd=folder)
        deeper = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = deeper
    os.close(folder)
    try:
        assert len(told(layers) or {}) > 1500
    finally:
        # Python's own way of removing a tree goes no deeper than its stack.
        subprocess.run(["rm", "-rf", str(layers / OWN / "d")], check=True)


@pytest.mark.parametrize(
    "driver",
    [
        {},
        {"Name": "overlayfs"},
        {"Name": "overlay2", "Data": {"UpperDir": "", "LowerDir": "/a"}},
        {"Name": "overlay2", "Data": {"UpperDir": "/nowhere/own", "LowerDir": "/nowhere/a:/nowhere/b"}},
    ],
)
def test_what_cannot_be_read_here_is_left_to_the_engine(driver: dict[str, object]) -> None:
    assert changed_paths(driver) is None
