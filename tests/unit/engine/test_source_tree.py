# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of the app are looked at as far as they say how it starts: never more, never waiting, never far away."""

from __future__ import annotations

import os
from pathlib import Path

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.source_tree import SourceTree, text_of


def written(root: Path, *paths: str) -> SourceTree:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)
    return SourceTree(str(root))


def test_the_file_nearest_to_the_root_is_meant(tmp_path: Path) -> None:
    tree = written(tmp_path, "old/backend/shop/feed.py", "backend/shop/feed.py", "backend/shop/other_feed.py")
    assert tree.ending("shop/feed.py") == "backend/shop/feed.py"
    assert tree.ending("feed.py") == "backend/shop/feed.py"
    assert tree.ending("nowhere.py") == "" == SourceTree("").ending("feed.py")


def test_what_is_not_the_apps_own_is_not_looked_into(tmp_path: Path) -> None:
    tree = written(tmp_path, "node_modules/x/a.conf", ".git/a.conf", "1/2/3/4/5/6/7/a.conf", "ops/a.conf", "ops/b.ini")
    assert tree.ended_by(".conf", ".ini") == [str(tmp_path / "ops/a.conf"), str(tmp_path / "ops/b.ini")]


def test_only_the_beginning_of_a_plain_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "long").write_text("x" * 100_000)
    os.mkfifo(tmp_path / "fifo")
    assert len(text_of(str(tmp_path / "long"))) == 65536
    assert text_of(str(tmp_path / "fifo")) == "" == text_of(str(tmp_path)) == text_of(str(tmp_path / "gone"))
