# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder of releases: whole or not there, one link that is never missing, and nothing of the server's touched."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import stat
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.host import release as hotfix_release
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.host.journal import LockHeld, working
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.options import LockOptions
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.choice import is_id
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.host import plain_folder
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.host import store as releases_store
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.host.store import Store
from tests.unit.app_on_a_server import App, commit, git, refusal
from tests.unit.script_processes import ScriptProcesses


@pytest.fixture
def app(tmp_path: Path) -> App:
    return App(tmp_path)


@pytest.fixture(autouse=True)
def _strict_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def snapshot(folder: Path) -> dict[str, float]:
    return {str(p): p.lstat().st_mtime_ns for p in folder.rglob("*")}


# -- the ordinary life ------------------------------------------------------------------------------------


def test_a_release_is_made_once_and_switched_to(app: App) -> None:
    made = app()
    name, path = made["release"], Path(made["release_path"])
    assert is_id(name) and path == app.root / "releases" / name
    assert made == {
        "changed": True, "release": name, "release_path": str(path), "revision": app.first, "exists": True,
        "release_state": "preparing", "current": "", "current_revision": "", "rollback_target": "", "rollback_target_revision": "",
        "msg": f"main ({app.first[:12]}) is the first version",
    }  # fmt: skip
    assert (path / "version").read_text() == "1"
    assert os.readlink(path / ".env") == "../../shared/.env" and (path / ".env").read_text() == "SECRET=1"
    modes = {
        n: stat.S_IMODE((path / n).stat().st_mode) for n in (".", ".evenkeel", ".evenkeel/manifest.json", "version")
    }
    assert modes == {".": 0o755, ".evenkeel": 0o700, ".evenkeel/manifest.json": 0o600, "version": 0o644}

    assert app() == {**made, "changed": False}
    assert "was never built" in refusal(app, "active", release=name)
    assert app("built", release=name) == {**made, "release_state": "built", "msg": ""}
    assert app("built", release=name)["changed"] is False
    active = app("active", release=name)
    assert active == {
        **made, "release_state": "verified", "current": name, "current_revision": app.first,
        "diff": {"before": "current -> nothing\n", "after": f"current -> {name}\n"},
        "database_hotfixes": [], "upload_hotfixes": [], "msg": "",
    }  # fmt: skip
    assert os.readlink(app.root / "current") == f"releases/{name}"
    before = snapshot(app.root / "releases")
    assert app("active", release=name)["changed"] is False
    assert app()["changed"] is False
    assert snapshot(app.root / "releases") == before


def test_a_new_revision_stands_beside_until_it_is_active(app: App) -> None:
    first = app.built()
    app("active", release=first)
    second_commit = commit(app.source, version="2")
    second = app()
    app("built", release=second["release"])
    assert (second["changed"], second["revision"], second["current"]) == (True, second_commit, first)
    assert second["msg"] == f"main ({app.first[:12]}) → main ({second_commit[:12]}), 1 commit"
    assert (app.root / "current/version").read_text() == "1"
    app("active", release=second["release"])
    assert (app.root / "current/version").read_text() == "2"
    # The way back is an old release, not an export.
    back = app(version=app.first)
    assert (back["changed"], back["release"]) == (False, first)
    assert back["msg"] == f"main ({second_commit[:12]}) → {app.first[:12]}, 1 commit back"
    assert app("active", release=first)["changed"]


def test_what_a_version_leaves_out_is_said(app: App) -> None:
    app("active", release=app.built())
    git(app.source, "checkout", "--quiet", "--orphan", "other")
    commit(app.source, version="9")
    commit(app.source, version="10")
    assert app(version="other")["msg"].endswith(", 2 commits, and 1 is left out")
    assert app(version="other", check=True)["msg"].endswith(", 2 commits, and 1 is left out")


def test_a_bad_release_is_not_taken_up_again_and_the_current_one_is_never_bad(app: App) -> None:
    first = app()["release"]
    assert app("bad", release=first)["release_state"] == "bad"
    assert app("bad", release=first)["changed"] is False
    second = app()
    assert second["changed"] and second["release"] != first
    app("built", release=second["release"])
    app("active", release=second["release"])
    result = app("bad", release=second["release"])
    assert (result["changed"], result["release_state"]) == (False, "verified")


# -- check mode -------------------------------------------------------------------------------------------


def test_check_mode_on_a_bare_host_touches_nothing(app: App, tmp_path: Path) -> None:
    before = snapshot(tmp_path)
    result = app(check=True)
    assert (result["changed"], result["exists"], result["revision"]) == (True, False, app.first)
    assert snapshot(tmp_path) == before


def test_check_mode_knows_what_is_there(app: App, tmp_path: Path) -> None:
    name = app.built()
    before = snapshot(tmp_path)
    for version in ("main", app.first, app.first[:9]):
        result = app(check=True, version=version)
        assert (result["changed"], result["release"], result["revision"]) == (False, name, app.first)
    assert app("active", check=True, release=name)["changed"] and app("bad", check=True, release=name)["changed"]
    assert snapshot(tmp_path) == before


# -- killed -----------------------------------------------------------------------------------------------


class Killed(BaseException):
    """As SIGKILL: nothing is cleaned up any more."""


@pytest.mark.parametrize("step", ["export", "rename"])
def test_a_release_is_whole_or_not_there(step: str, app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_args: object, **_how: object) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(hotfix_release.Git if step == "export" else releases_store.os, step, die)
        patch.setattr("shutil.rmtree", lambda *_a, **_k: None)
        app()
    assert re.fullmatch(r"\.making-.*", app.names()[0])
    assert Store(str(app.root)).all() == []
    made = app()
    assert made["changed"] and app.names() == [made["release"]]
    assert sorted(os.listdir(made["release_path"])) == [".env", ".evenkeel", "version"]


def test_a_link_that_was_left_half_way_is_swept(app: App) -> None:
    name = app.built()
    (app.root / ".current-abc").symlink_to("releases/x")
    app("active", release=name)
    assert sorted(os.listdir(app.root)) == [".evenkeel", "current", "mirror.git", "releases", "shared"]


# -- the switch -------------------------------------------------------------------------------------------

READER = """
    import os, sys
    path, count, wrong = sys.argv[1], 0, 0
    sys.stdout.write("reading\\n"); sys.stdout.flush()
    while not os.path.exists(sys.argv[2]):
        if count == 500:
            open(sys.argv[3], "w").close()
        try:
            wrong += open(path).read() not in ("1", "2")
        except OSError:
            wrong += 1
        count += 1
    print(count, wrong)
"""


def test_no_reader_ever_finds_the_link_missing(app: App, tmp_path: Path) -> None:
    first = app()["release"]
    commit(app.source, version="2")
    second, store, end, enough = app()["release"], Store(str(app.root)), tmp_path / "end", tmp_path / "enough"
    store.switch(first)
    command = [sys.executable, "-c", textwrap.dedent(READER), str(app.root / "current/version"), str(end), str(enough)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None and reader.stdout.readline() == "reading\n"
        turns = 0
        # On a busy machine the reader may have had no turn yet.
        while turns < 250 or not enough.exists():
            assert store.switch(second) and store.switch(first)
            turns += 1
        end.touch()
        count, wrong = map(int, reader.stdout.read().split())
    assert wrong == 0 and count >= 500


PATHS = str(Path(__file__).parents[3] / "collections")
STORE = f"""
import sys
sys.path.append({PATHS!r})
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.host.store import Store
"""
#: Switches, and is killed just before or just after the n-th call that touches the disk.
KILLED_SWITCH = """
    import os
    from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.host.store import Store
    root, release, fatal, calls = %r, %r, %r, 0
    def counted(name):
        real = getattr(os, name)
        def call(*args, **how):
            global calls
            calls += 1
            if fatal == calls - 0.5:
                os.kill(os.getpid(), 9)
            result = real(*args, **how)
            if fatal == calls:
                os.kill(os.getpid(), 9)
            return result
        setattr(os, name, call)
    for name in ("readlink", "listdir", "symlink", "unlink", "replace", "open", "fsync", "close"):
        counted(name)
    Store(root).switch(release)
    print(calls)
"""


@pytest.fixture(scope="module")
def processes() -> Iterator[ScriptProcesses]:
    with ScriptProcesses(STORE) as made:
        yield made


def test_killed_at_any_call_current_leads_to_a_whole_release(app: App, processes: ScriptProcesses) -> None:
    first = app.built()
    commit(app.source, version="2")
    second, store = app.built(), Store(str(app.root))
    store.switch(first)

    def switch(release: str, fatal: float) -> subprocess.CompletedProcess[str]:
        return processes.run(textwrap.dedent(KILLED_SWITCH) % (str(app.root), release, fatal))

    whole = switch(second, 0)
    count = int(whole.stdout)
    assert (whole.returncode, store.current()) == (0, second) and count >= 6, whole.stderr
    seen = set()
    for half in range(1, 2 * count + 1):
        target = first if store.current() == second else second
        assert switch(target, half / 2).returncode == -9
        assert (app.root / "current/version").read_text() in ("1", "2")
        seen.add(store.current() == target)
        assert store.switch(target) or store.current() == target
        assert sorted(n for n in os.listdir(app.root) if n.startswith(".current-")) == []
    assert seen == {True, False}, "it was killed before the switch and after it"


# -- refusals -------------------------------------------------------------------------------------------


def test_what_stands_where_the_link_belongs_is_left(app: App) -> None:
    name = app()["release"]
    (app.root / "current").mkdir()
    (app.root / "current/theirs").touch()
    for more in ({}, {"state": "active", "release": name}):
        assert "/current is a real file or folder, not a link of this collection | move it away" in refusal(app, **more)
    assert (app.root / "current/theirs").exists()


@pytest.mark.parametrize("target", ["/srv/other/releases/20261120T084911Z-5d33865", "releases/v1", "shared", "/"])
def test_a_link_of_somebody_else_is_left(app: App, target: str) -> None:
    (app.root / "current").symlink_to(target)
    assert f"leads to {target}, which is no release of this collection | move it away" in refusal(app)
    assert os.readlink(app.root / "current") == target


def test_what_the_server_has_to_bring(app: App, tmp_path: Path) -> None:
    (app.root / "shared/.env").unlink()
    assert "/shared/.env is not there | put the server's own .env there (mode 0600 where it holds secrets)" in refusal(
        app, check=True
    )
    assert "must be relative and stay inside" in refusal(app, shared=["../../etc/passwd"])
    assert not (app.root / "releases").exists()
    (app.root / "shared/version").touch()
    assert "version is in the revision and in shared/ as well" in refusal(app, shared=["version"])
    assert app.names() == []


def test_a_folder_that_the_revision_leads_elsewhere_is_not_followed(app: App, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (app.source / "config").symlink_to(tmp_path / "etc")
    commit(app.source)
    (app.root / "shared/config").mkdir()
    (app.root / "shared/config/x").touch()
    assert "the folder of config/x is a link in the revision" in refusal(app, shared=["config/x"])
    assert os.listdir(tmp_path / "etc") == [] and app.names() == []
    (app.root / "shared/new").mkdir()
    (app.root / "shared/new/x").touch()
    assert os.readlink(Path(app(shared=["new/x"])["release_path"], "new/x")) == "../../../shared/new/x"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"path": "srv/shop"}, "path srv/shop must be absolute and without .."),
        ({"path": "/srv/../etc"}, "must be absolute and without .."),
        ({"owner": "nobody-at-all"}, "there is no user nobody-at-all on this host | make the user"),
        ({"version": "--all"}, "'--all' is no git branch, tag or commit | set update_version"),
        ({"version": ""}, "it was not said which version is wanted | set update_version to a branch, tag or commit"),
        ({"version": "v9"}, "the repository has no branch, tag or commit v9 | push it first"),
        ({"repo": "/nowhere"}, "git failed as user"),
        ({"state": "active", "release": "../../etc"}, "there is no release ../../etc in"),
        ({"state": "bad", "release": ""}, "there is no release (none named) in"),
    ],
)
def test_bad_input(app: App, more: dict[str, Any], said: str) -> None:
    assert said in refusal(app, **more)


def test_a_submodule_is_refused_and_nothing_is_made(app: App) -> None:
    git(app.source, "update-index", "--add", "--cacheinfo", f"160000,{app.first},lib")
    git(app.source, "commit", "--quiet", "--message", "x")
    assert re.search(r"revision [0-9a-f]{12} cannot be exported: lib is a submodule", refusal(app))
    assert app.names() == []


def test_two_at_once_do_not_meet(app: App) -> None:
    (app.root / ".evenkeel").mkdir(mode=0o700, exist_ok=True)
    with working(LockOptions(), str(app.root / ".evenkeel"), "compose_rolling of shop"):
        with pytest.raises(LockHeld, match="another change of this project is running: compose_rolling of shop"):
            app()
        assert app(check=True)["changed"]
    assert app()["changed"]


def test_only_root_is_somebody_else(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    assert "nobody cannot run git as user root | run with become: true" in refusal(app, owner="root")


# -- the owner of the app is not to be trusted with what root does ----------------------------------------------

OWNER = "nobody"


@pytest.fixture
def theirs(app: App) -> Iterator[Path]:
    """``app_root`` as its owner's, and a folder of the server's own to which nobody else has access."""
    user = pwd.getpwnam(OWNER)
    reachable = [
        p for p in app.root.parents if p.is_relative_to(tempfile.gettempdir()) and p != Path(tempfile.gettempdir())
    ]
    modes = {p: p.stat().st_mode for p in reachable}
    for path in reachable:
        path.chmod(0o755)
    for path in (app.root, *app.root.rglob("*"), app.source, *app.source.rglob("*")):
        os.chown(path, user.pw_uid, user.pw_gid)
    # In a folder of the owner's there would be none that root believes.
    app.always = {"state_dir": str(app.root.parents[1] / "state")}
    victim = app.root.parents[1] / "etc"
    victim.mkdir(mode=0o700)
    (victim / "shadow").write_text("root's own")
    yield victim
    for path, mode in modes.items():
        path.chmod(stat.S_IMODE(mode))


def facts(victim: Path) -> list[tuple[str, int, int]]:
    return [(p.name, p.lstat().st_uid, p.lstat().st_mode) for p in sorted([victim, *victim.rglob("*")])]


def plain_folder_of(app: App) -> Path:
    folder = app.root.parents[1] / "upload"
    (folder / "public").mkdir(parents=True)
    (folder / "public/shadow").write_text("a page")
    return folder


def test_nobody_else_enters_a_release_while_it_is_copied(
    app: App, theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []
    digest = plain_folder.digest_of

    def looked(path: str) -> str:
        # What the owner finds while root is at work.
        modes.extend(stat.S_IMODE(p.stat().st_mode) for p in app.root.glob("releases/.making-*"))
        modes.extend(p.stat().st_uid for p in app.root.glob("releases/.making-*"))
        return digest(path)

    monkeypatch.setattr(plain_folder, "digest_of", looked)
    made = app(repo=str(plain_folder_of(app)), owner=OWNER)
    assert set(modes) == {0o700, 0}
    path, uid = Path(made["release_path"]), pwd.getpwnam(OWNER).pw_uid
    assert {p.lstat().st_uid for p in (path, *path.rglob("public/**/*"))} == {uid}
    assert (path / "public/shadow").read_text() == "a page" and stat.S_IMODE(path.stat().st_mode) == 0o755


def test_a_folder_of_the_source_that_is_exchanged_is_not_copied_from(
    app: App, theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = plain_folder_of(app)
    before = plain_folder.revision_of(str(source))
    made: list[str] = []

    def exchanged(path: str) -> str:
        # As a look at the source that was answered by a consistent lie.
        return before

    real = os.mkdir

    def mkdir(path: str, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        real(path, mode, dir_fd=dir_fd)
        if os.path.basename(path) == "public" and not made:
            made.append(path)
            (source / "public").rename(source / "away")
            (source / "public").symlink_to(theirs)

    monkeypatch.setattr(os, "mkdir", mkdir)
    monkeypatch.setattr(plain_folder, "revision_of", exchanged)
    monkeypatch.setattr(plain_folder, "digest_of", exchanged)
    with contextlib.suppress(BadInput):
        app(repo=str(source), owner=OWNER)
    assert made
    assert "root's own" not in [p.read_text() for p in app.root.rglob("shadow")]


def test_a_record_of_a_release_is_not_written_through_a_link(app: App, theirs: Path) -> None:
    name = app(owner=OWNER)["release"]
    ours = app.root / "releases" / name / ".evenkeel"
    ours.rename(ours.with_name("away"))
    ours.symlink_to(theirs)
    os.lchown(ours, pwd.getpwnam(OWNER).pw_uid, -1)
    before = facts(theirs)
    with contextlib.suppress(OSError, BadInput):
        app("bad", release=name, owner=OWNER)
    with contextlib.suppress(OSError):
        Store(str(app.root), OWNER).note(name, state="verified")
    assert facts(theirs) == before


def test_a_link_of_the_owner_in_the_place_of_the_releases_is_not_gone_through(app: App, theirs: Path) -> None:
    app(owner=OWNER)
    (app.root / "releases").rename(app.root / "away")
    (app.root / "releases").symlink_to(theirs)
    os.lchown(app.root / "releases", pwd.getpwnam(OWNER).pw_uid, -1)
    before = facts(theirs)
    assert "is a link that root did not make" in refusal(app, owner=OWNER, repo=str(plain_folder_of(app)))
    assert facts(theirs) == before


def test_a_folder_that_is_exchanged_as_soon_as_it_is_made_is_not_given_away(
    app: App, theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, before = os.mkdir, facts(theirs)
    made: list[str] = []

    def mkdir(path: str, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        real(path, mode, dir_fd=dir_fd)
        if os.path.basename(path) == "mirror.git" and not made:
            made.append(path)
            (app.root / "mirror.git").rename(app.root / "away")
            (app.root / "mirror.git").symlink_to(theirs)

    monkeypatch.setattr(os, "mkdir", mkdir)
    with contextlib.suppress(BadInput, OSError):
        Store(str(app.root), OWNER).make_folders()
    assert made and facts(theirs) == before
