# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases of plain folders, switches at a moment, removal by name, and room on the disk."""

from __future__ import annotations

import os
import re
import stat
import threading
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.host import plain_folder, store
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.host.store import Store
from ansible_collections.evenkeel.deploy.plugins.module_utils.status.host.store import releases_of
from tests.unit.app_on_a_server import App, commit, refusal


@pytest.fixture
def app(tmp_path: Path) -> App:
    return App(tmp_path)


# -- at a moment ------------------------------------------------------------------------------------------


def iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, timezone.utc).isoformat().replace("+00:00", "Z")


def test_many_switch_at_one_moment(app: App, tmp_path: Path) -> None:
    other = App(tmp_path / "other")
    apps = [(a, a.built()) for a in (app, other)]
    moment = time.time() + 0.7
    began = threading.Barrier(2)
    results: list[dict[str, Any]] = []

    def run(each: App, name: str) -> None:
        began.wait()
        results.append(each("active", release=name, activate_at=iso(moment)))

    threads = [threading.Thread(target=run, args=pair) for pair in apps]
    for thread in threads:
        thread.start()
    time.sleep(max(0.0, moment - time.time() - 0.2))
    seen = [a.current() for a in (Store(str(app.root)), Store(str(other.root)))]
    # On a busy machine this look may come too late.
    assert seen == ["", ""] or time.time() >= moment
    for thread in threads:
        thread.join()
    assert time.time() >= moment
    changes = [os.lstat(a.root / "current").st_ctime for a, _name in apps]
    # The link is made before and renamed then, which the folder's own time tells.
    renames = [os.stat(a.root).st_mtime for a, _name in apps]
    assert min(renames) >= moment - 0.01 and changes and all(r["changed"] for r in results)
    assert app("active", release=apps[0][1], activate_at=iso(moment))["changed"] is False


def test_who_comes_late_switches_at_once_and_says_so(app: App) -> None:
    result = app("active", release=app.built(), activate_at=iso(time.time() - 60))
    assert result["changed"] and result["late"] >= 60


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tomorrow", "is no time of ISO 8601"),
        ("2026-11-20T22:00:00", "could mean another moment on each host"),
        ("2999-01-01T00:00:00Z", "more than an hour away"),
    ],
)
def test_what_is_no_moment(app: App, text: str, words: str) -> None:
    assert words in refusal(app, "active", release=app.built(), activate_at=text)


# -- taken away -------------------------------------------------------------------------------------------


def test_one_that_nobody_needs_is_taken_away_by_name(app: App) -> None:
    names = []
    for number in range(3):
        commit(app.source, version=str(number + 2))
        names.append(app.built())
        app("active", release=names[-1])
    assert "is the current one" in refusal(app, "absent", release=names[2])
    assert "is the one to go back to" in refusal(app, "absent", release=names[1])
    assert app("absent", check=True, release=names[0])["changed"] and len(app.names()) == 3
    assert app("absent", release=names[0])["changed"]
    assert app.names() == sorted(names[1:])
    assert app("absent", release=names[0])["changed"] is False


# -- a folder in place of a repository --------------------------------------------------------------------


@pytest.fixture
def upload(tmp_path: Path) -> Path:
    folder = tmp_path / "upload"
    (folder / "sub").mkdir(parents=True)
    (folder / "version").write_text("1")
    (folder / "sub/run.sh").write_text("#!/bin/sh")
    (folder / "sub/run.sh").chmod(0o755)
    (folder / "link").symlink_to("sub/run.sh")
    return folder


def test_a_release_of_a_plain_folder(app: App, upload: Path) -> None:
    made = app(repo=str(upload))
    tree = Path(made["release_path"])
    assert made["changed"] and re.fullmatch("[0-9a-f]{40}", made["revision"])
    assert (tree / "version").read_text() == "1" and os.readlink(tree / "link") == "sub/run.sh"
    assert stat.S_IMODE((tree / "sub/run.sh").stat().st_mode) == 0o755
    assert os.readlink(tree / ".env") == "../../shared/.env"
    assert app(repo=str(upload))["changed"] is False
    assert app(repo=str(upload), check=True)["changed"] is False
    (upload / "version").write_text("2")
    assert app(repo=str(upload), check=True)["changed"]
    again = app(repo=str(upload))
    assert again["changed"] and again["revision"] != made["revision"]
    assert (tree / "version").read_text() == "1", "an upload does not change what is there"


def test_a_folder_that_changes_meanwhile_makes_no_release(
    app: App, upload: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = plain_folder.copy_all

    def slow(*args: Any, **how: Any) -> Any:
        result = real(*args, **how)
        (upload / "version").write_text("half")
        return result

    monkeypatch.setattr(plain_folder, "copy_all", slow)
    assert "changed while it was copied | wait until the upload has ended" in refusal(app, repo=str(upload))
    assert app.names() == []


def test_what_a_folder_may_not_hold(app: App, upload: Path) -> None:
    os.mkfifo(upload / "pipe")
    assert "pipe is no file, folder or link" in refusal(app, repo=str(upload))
    (upload / "pipe").unlink()
    (upload / ".evenkeel").mkdir()
    assert "where a release keeps its own record" in refusal(app, repo=str(upload))


# -- room -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spare", "words"),
    [("SPARE_BYTES", "MiB free, the new release takes 0 MiB"), ("SPARE_FILES", "more files, the new release has 1")],
)
def test_a_disk_that_is_nearly_full_is_seen_before(
    app: App, monkeypatch: pytest.MonkeyPatch, spare: str, words: str
) -> None:
    monkeypatch.setattr(store, spare, 2**60)
    assert words in refusal(app)
    assert app.names() == []


# -- switched, and found good later -----------------------------------------------------------------------


def test_a_switch_is_noted_before_it_is_made(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is killed after it has to leave a record that there is more to do."""
    name = app.built()
    real, seen = store.os.replace, []

    def replace(source: str, target: str, **how: Any) -> None:
        if target.endswith("/current"):
            seen.append(Store(str(app.root)).manifest(name)["state"])
        real(source, target, **how)

    monkeypatch.setattr(store.os, "replace", replace)
    app("active", release=name, verified=False)
    assert seen == ["active"]


def test_where_to_go_back_to_is_what_was_found_good(app: App) -> None:
    first = app.built()
    assert app("active", release=first, verified=False)["rollback_target"] == ""
    app("active", release=first)
    commit(app.source, version="2")
    second = app.built()
    assert app()["rollback_target"] == first
    app("active", release=second, verified=False)
    # Killed here: the current one is not what anybody wants to go back to.
    assert app()["rollback_target"] == first and app()["rollback_target_revision"] == app.first
    commit(app.source, version="3")
    assert app()["rollback_target"] == first
    # On the way back, and killed again: it was good, and is still where to go.
    app("active", release=first, verified=False)
    assert app()["rollback_target"] == first
    assert Store(str(app.root)).manifest(first)["state"] == "active"


def test_what_is_looked_at_first_has_a_link_of_its_own_for_as_long(app: App) -> None:
    first = app()["release"]
    assert "was never built" in refusal(app, "next", release=first)
    app("built", release=first)
    assert app("next", check=True, release=first)["changed"] and not (app.root / "next").exists()
    shown = app("next", release=first)
    assert shown["changed"] and shown["current"] == ""
    assert os.readlink(app.root / "next") == f"releases/{first}"
    assert app("next", release=first)["changed"] is False
    app("active", release=first, verified=False)
    assert not os.path.lexists(app.root / "next")
    commit(app.source, version="2")
    second = app.built()
    app("next", release=second)
    app("bad", release=second)
    assert not os.path.lexists(app.root / "next")


def test_a_folder_is_shared_and_another_list_makes_another_release(app: App) -> None:
    first = app()["release"]
    (app.root / "shared/media/cats").mkdir(parents=True)
    (app.root / "shared/media/cats/a").write_text("miau")
    second = app(shared=[".env", "media/cats"])
    assert second["changed"] and second["release"] != first
    assert (Path(second["release_path"]) / "media/cats/a").read_text() == "miau"
    assert app(shared=[".env", "media/cats"])["changed"] is False


def test_what_nobody_asked_is_gone_back_to_and_not_called_verified(app: App) -> None:
    name = app.built()
    app("active", release=name, asked=False)
    store = Store(str(app.root))
    (told,) = releases_of(store)
    assert (told["state"], told["verified_at"]) == ("active, not asked", "")
    assert app("active", release=name, asked=False)["changed"] is False
    commit(app.source, version="2")
    assert app()["rollback_target"] == name
    # Asked later, with a URL, it is; and an operation without one takes nothing of that back.
    app("active", release=name)
    app("active", release=name, asked=False)
    # Two of one second are in the order of their commits.
    (told,) = [r for r in releases_of(store) if r["id"] == name]
    assert told["state"] == "verified" and told["verified_at"]


def test_a_way_back_that_cannot_be_archived_keeps_no_release_from_serving(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{app.root}/no-engine.sock")
    name = app.built()
    result = app("active", release=name, archive="auto")
    assert result["changed"] and result["current"] == name
    assert [note.partition(":")[0] for note in result["notes"]] == [
        "the images of the release to go back to are not archived"
    ]
    assert "notes" not in app("active", release=name)
