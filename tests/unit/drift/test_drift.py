# SPDX-License-Identifier: GPL-3.0-or-later
"""What counts as somebody's hand, where it belongs in the revision, and whether git takes the patch."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.evenkeel.deploy.plugins.module_utils.drift.drift import (
    Difference,
    differences,
    is_noise,
    patch_of,
    to_read,
    tree_paths,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.path_content import Held


def a_file(content: str = "x", mode: int = 0o644, at: float = 0.0) -> Held:
    return Held("file", hashlib.sha256(content.encode()).hexdigest(), mode, len(content), at)


@pytest.mark.parametrize(
    "path",
    [
        "/app/shop/__pycache__/urls.cpython-313.pyc", "/app/shop/__pycache__", "/tmp/x", "/run/nginx.pid", "/etc/hosts",
        "/var/log/nginx/access.log", "/app/debug.log.1", "/root/.bash_history", "/app/celerybeat-schedule.db",
        "/app/gunicorn.sock", "shop/.urls.py.swp", "/home/shop/.cache/pip/x", "/app/gunicorn.pid",
        "/app/.lock", "/app/media/upload.lock",
    ],
)  # fmt: skip
def test_what_programs_write_is_noise(path: str) -> None:
    assert is_noise(path)


@pytest.mark.parametrize(
    "path",
    [
        "/app/shop/urls.py", "/etc/nginx/nginx.conf", "/app/logs.py", "/tmpfiles/x", "tmp.py",
        "/app/poetry.lock", "frontend/yarn.lock", "uv.lock", "Pipfile.lock", "/app/requirements-dev.lock", "Cargo.lock",
        "composer.lock", "Gemfile.lock", "bun.lock", "pdm.lock",
    ],
)  # fmt: skip
def test_what_people_write_is_none(path: str) -> None:
    assert not is_noise(path)


def test_folders_on_the_way_and_mount_points_are_not_read() -> None:
    changed = ["/app", "/app/shop", "/app/shop/urls.py", "/app/media", "/etc", "/etc/nginx", "/etc/nginx/conf.d",
               "/etc/nginx/conf.d/default.conf", "/run", "/run/nginx.pid", "/opt/new"]  # fmt: skip
    wanted, noise = to_read(changed, ["/app/media", "/etc/nginx/conf.d/default.conf"])
    assert wanted == ["/app/shop/urls.py", "/opt/new"] and noise == 1


def test_times_and_folders_do_not_count_but_content_and_permissions_do() -> None:
    before = {"same": a_file(at=1), "gone": a_file(), "edited": a_file("a"), "mode": a_file(), "dir": Held("folder")}
    after = {
        "same": a_file(at=2),
        "new": a_file(),
        "edited": a_file("b"),
        "mode": a_file(mode=0o755),
        "pipe": Held("other"),
    }
    found = {d.path: d for d in differences(before, after)}
    assert {p: d.change for p, d in found.items()} == {
        "gone": "removed", "new": "added", "edited": "changed", "mode": "changed",
    }  # fmt: skip
    assert found["mode"].why == "permissions 0644 -> 0755"
    assert "mode" not in {d.path for d in differences(before, after, modes=False)}


def test_what_could_not_be_read_is_said_and_what_an_entrypoint_wrote_is_told_apart() -> None:
    (unread,) = differences({"big": a_file()}, {"big": Held("file", why="larger than 8 MiB")})
    assert (unread.change, unread.why) == ("unread", "larger than 8 MiB")
    (rendered,) = differences({"x": a_file("a")}, {"x": a_file("b", at=100)}, started=100.4)
    (by_hand,) = differences({"x": a_file("a")}, {"x": a_file("b", at=160)}, started=100.4)
    assert rendered.at_start and not by_hand.at_start


names = st.sampled_from(["a", "a/b", "c.py", "d/e.py"])
helds = st.builds(Held, st.sampled_from(["file", "link", "folder"]), st.sampled_from(["1", "2"]), st.just(0o644))


@given(st.dictionaries(names, helds), st.dictionaries(names, helds))
def test_nothing_differs_from_itself_and_both_ways_find_the_same_paths(
    one: dict[str, Held], other: dict[str, Held]
) -> None:
    assert differences(one, one) == []
    there, back = differences(one, other), differences(other, one)
    assert [d.path for d in there] == [d.path for d in back]
    turned = {"added": "removed", "removed": "added", "changed": "changed"}
    assert [turned[d.change] for d in there] == [d.change for d in back]


def test_a_path_of_a_container_is_found_in_the_revision() -> None:
    tree = {"src/shop/urls.py": "1", "src/tours/urls.py": "1", "src/shop/views.py": "2", "deploy/nginx.conf": "9"}
    found = [
        Difference("/app/tours/urls.py", "changed", "1", "7"),
        Difference("/app/shop/views.py", "changed", "2", "8"),
        Difference("/app/shop/new.py", "added", "", "5"),
        Difference("/app/shop/pinned.txt", "changed", "6", "5"),
        Difference("/usr/lib/x.so", "added", "", "5"),
    ]
    assert tree_paths(found, tree, "/app") == {
        "/app/tours/urls.py": "src/tours/urls.py",
        "/app/shop/views.py": "src/shop/views.py",
        "/app/shop/new.py": "src/shop/new.py",
    }
    assert tree_paths([Difference("/app/n.py", "added")], tree, "/app") == {"/app/n.py": "n.py"}


text = st.text(st.sampled_from("ab\n\r é"), max_size=12)


@given(st.one_of(st.none(), text), st.one_of(st.none(), text))
def test_git_takes_every_patch(tmp_path_factory: pytest.TempPathFactory, before: str | None, after: str | None) -> None:
    folder = tmp_path_factory.mktemp("tree")
    path = folder / "a b/x.py"
    path.parent.mkdir()
    old, new = (t.encode() if t is not None else None for t in (before, after))
    if old is not None:
        path.write_bytes(old)
    patch = patch_of("a b/x.py", old, new)
    if not patch:
        assert old == new
        return
    subprocess.run(["git", "apply", "--whitespace=nowarn"], input=patch.encode(), cwd=folder, check=True)
    assert (path.read_bytes() if path.exists() else None) == new


@pytest.mark.parametrize(
    ("path", "content"), [("../x", b"a"), ("/x", b"a"), ("a\nb", b"a"), ("x", b"\0"), ("x", b"\xff")]
)
def test_what_cannot_be_a_patch_is_refused(path: str, content: bytes) -> None:
    with pytest.raises(ValueError):
        patch_of(path, None, content)


def test_a_patch_keeps_the_folder_untouched_where_nothing_differs(tmp_path: Path) -> None:
    assert patch_of("x", b"a", b"a") == ""
