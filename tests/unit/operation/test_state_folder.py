# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose state folder is believed, and its one move out of the app's own folder, killed and attacked on the way."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import processor_share
from ansible_collections.evenkeel.deploy.plugins.module_utils.calls.deploy_lock import call as lock
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host import project
from ansible_collections.evenkeel.deploy.plugins.module_utils.guard.host.view import Deployment
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.host import ledger
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.host import state_folder
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.host.journal import Keeper, LockHeld, working
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.host.single_call import (
    GOES_ON,
    OperationOptions,
    single_call,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.options import LockOptions
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.host.store import Store
from tests.property.simulated_parts import Killed

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a folder to another user, and moves it")
OWNER = 65534


class App:
    """An app of before: its state lies in its own folder, which belongs to its owner."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "srv"
        self.former = self.root / ".evenkeel"
        self.wanted = folder / "lib/evenkeel/shop"
        self.root.mkdir()
        token = self.held(self.former, "", target="v1")["lock_token"]
        with working(LockOptions(lock_token=token), str(self.former), "compose_rolling of shop") as fence:
            fence.reported({"changed": True})
        ledger.write(str(self.former), "a", {"name": "a"}, "patch")
        lock({"state": "released", "state_dir": str(self.former), "lock_token": token}, False)
        if os.geteuid() == 0:
            os.chown(self.root, OWNER, OWNER)
        self.before = self.content(self.former)

    def held(
        self, state: Path | None = None, former: str | None = None, check: bool = False, **more: Any
    ) -> dict[str, Any]:
        given = {
            "state_dir": str(state or self.wanted),
            "former_state_dir": str(self.former) if former is None else former,
        }
        asked = {
            "state": "held",
            "playbook": "update",
            "app_name": "shop",
            "target": "v2",
            "who": "anna",
            "lease": 60,
            "wait": 0,
        }
        return lock({**asked, **given, **more}, check)

    @staticmethod
    def content(folder: Path) -> set[str]:
        """The records and the ledger, which a move must not lose."""
        return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name != state_folder.MOVED}

    def is_moved(self) -> None:
        """All that was there is at the new place, the old path leads there, and nothing is left on the way."""
        assert self.before <= self.content(self.wanted)
        assert os.readlink(self.former) == str(self.wanted) and stat.S_IMODE(self.wanted.stat().st_mode) == 0o700
        assert [p.name for p in self.wanted.parent.iterdir()] == ["shop"]
        told = [line["event"] for line in Keeper(str(self.wanted)).journal.lines()]
        assert told.count("released") >= 1 and ledger.read(str(self.wanted), "a")["name"] == "a"


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    monkeypatch.setattr(state_folder, "DEFAULT", str(tmp_path / "lib/evenkeel"))
    return App(tmp_path)


@pytest.fixture(params=["one file system", "two file systems"])
def systems(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, app: App) -> None:
    if request.param == "one file system":
        return
    real = os.rename

    def rename(source: Any, target: Any, **more: Any) -> None:
        if (str(source), str(target)) == (str(app.former), str(app.wanted)):
            raise OSError(errno.EXDEV, "Invalid cross-device link", str(source))
        real(source, target, **more)

    monkeypatch.setattr(os, "rename", rename)


# -- who is believed --------------------------------------------------------------------------------------


def refusal(folder: Path) -> str:
    """What every way to the folder says; each is refused before anything is made in it."""
    before = sorted(folder.parent.rglob("*"))
    ways: list[Callable[[], object]] = [
        lambda: Keeper(str(folder)),
        lambda: Store(str(folder / "..")).state_dir(LockOptions(str(folder))),
        lambda: project.state_dir_of(LockOptions(str(folder)), "shop"),
        lambda: lock({"state": "held", "state_dir": str(folder), "lease": 60, "wait": 0}, False),
        lambda: lock({"state": "held", "state_dir": str(folder), "lease": 60, "wait": 0}, True),
    ]
    said = set()
    for way in ways:
        with pytest.raises(BadInput) as refused:
            way()
        said.add(refused.value.message())
    assert sorted(folder.parent.rglob("*")) == before
    (text,) = said
    assert text.startswith(("What: the state folder", "What: others may write")), text
    assert "\nNow: nothing was touched, what was serving still is\nNext: " in text
    return text


@needs_root
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir(0o700)
    os.chown(folder, OWNER, OWNER)
    assert "belongs to nobody, and this runs as root" in refusal(folder)


def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(0o700)
    (tmp_path / "state").symlink_to(tmp_path / "elsewhere")
    assert "is a link to" in refusal(tmp_path / "state")


@pytest.mark.parametrize("mode", [0o770, 0o702])
def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    folder.chmod(mode)
    assert f"(mode {mode:04o})" in refusal(folder) and f"chmod 0700 {folder}" in refusal(folder)


@needs_root
@pytest.mark.parametrize("there", [True, False])
def test_root_takes_no_folder_that_somebody_could_exchange(tmp_path: Path, there: bool) -> None:
    app_root = tmp_path / "srv"
    (app_root / "below").mkdir(parents=True)
    os.chown(app_root, OWNER, OWNER)
    folder = app_root / "below/state"
    if there:
        folder.mkdir(0o700)
    text = refusal(folder)
    assert f"lies in {app_root}, which belongs to nobody" in text and "leave app_state_dir out" in text
    os.chown(app_root, 0, 0)
    app_root.chmod(0o777)
    assert "can be written to by others (0777)" in refusal(folder)
    app_root.chmod(0o1777)
    assert Keeper(str(folder)).directory == str(folder)


@needs_root
def test_a_parent_behind_a_link_is_looked_at_as_well(tmp_path: Path) -> None:
    (tmp_path / "owners").mkdir()
    os.chown(tmp_path / "owners", OWNER, OWNER)
    (tmp_path / "link").symlink_to(tmp_path / "owners")
    assert "owners, which belongs to nobody" in refusal(tmp_path / "link/state")


# -- the move ---------------------------------------------------------------------------------------------


@needs_root
@pytest.mark.usefixtures("systems")
def test_it_is_moved_once_with_all_that_is_in_it(app: App) -> None:
    held = app.held()
    assert held["state_dir"] == str(app.wanted) and held["number"] == 2
    app.is_moved()
    with working(LockOptions(lock_token=held["lock_token"]), held["state_dir"], "compose_rolling of shop"):
        assert Deployment(str(app.former)).busy(), "a guard's unit of before has to see the lock"
    lock({"state": "released", "state_dir": held["state_dir"], "lock_token": held["lock_token"]}, False)
    seen = app.content(app.wanted)
    assert app.held()["state_dir"] == str(app.wanted)
    app.is_moved()
    assert seen <= app.content(app.wanted)


@needs_root
def test_a_new_app_has_none_in_its_own_folder(app: App) -> None:
    shutil.rmtree(app.former)
    before = os.umask(0)
    try:
        for _run in range(2):
            assert app.held()["state_dir"] == str(app.wanted)
    finally:
        os.umask(before)
    assert list(app.root.iterdir()) == [] and not (app.wanted / state_folder.MOVED).exists()
    assert stat.S_IMODE(app.wanted.stat().st_mode) == 0o700 and stat.S_IMODE(app.wanted.parent.stat().st_mode) == 0o755


@needs_root
def test_an_operation_that_works_there_is_respected(app: App) -> None:
    # Begun by a version that did not look whose the folder around it is.
    os.chown(app.root, 0, 0)
    running = app.held(app.former, "", target="v3")
    with pytest.raises(LockHeld):
        app.held()
    assert not app.wanted.exists() and app.former.is_dir()
    with (
        working(LockOptions(lock_token=running["lock_token"]), str(app.former), "compose_rolling of shop") as fence,
        fence.act("roll"),
    ):
        pass
    lock({"state": "released", "state_dir": str(app.former), "lock_token": running["lock_token"]}, False)
    app.held()
    app.is_moved()


@needs_root
def test_check_mode_and_questions_read_it_where_it_is(app: App) -> None:
    assert app.held(check=True)["state_dir"] == str(app.former)
    store = Store(str(app.root))
    assert store.state_dir(LockOptions(str(app.wanted))) == str(app.former)
    assert not app.wanted.exists() and app.before == app.content(app.former)
    app.held()
    assert store.state_dir(LockOptions(str(app.wanted))) == str(app.wanted)


@needs_root
def test_an_operation_of_one_call_moves_it_too(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    # Nobody gives the lock back, and with it the share of this machine's engine.
    monkeypatch.setattr(processor_share, "lower_engine", lambda: None)
    operation = OperationOptions("hotfix", "shop", "x", "me", 60)

    def works(lock: LockOptions, _check: bool) -> dict[str, Any]:
        assert lock.state_dir == str(app.wanted)
        with working(lock, lock.state_dir, "hotfix_patch of shop") as fence:
            return fence.reported({"changed": True, GOES_ON: True})

    told = single_call(operation, LockOptions(str(app.wanted)), False, works, "hotfix_live", str(app.former))
    assert told["state_dir"] == str(app.wanted)
    app.is_moved()


#: Each call of the move after which, or before which, the process may be gone.
CALLS = ["rename", "symlink", "sync", "mkdir", "rmtree"]


@needs_root
@pytest.mark.usefixtures("systems")
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("name", CALLS)
def test_killed_on_the_way_the_next_run_has_all_of_it(app: App, name: str, after: bool) -> None:
    with pytest.MonkeyPatch.context() as patched:
        place: Any = shutil if name == "rmtree" else os
        real, about = getattr(place, name), (str(app.former), str(app.wanted), str(app.wanted.parent))

        def killed(*args: Any, **more: Any) -> None:
            ours = not args or any(str(a).startswith(about) for a in args)
            if not ours:
                real(*args, **more)
                return
            if after:
                real(*args, **more)
            raise Killed

        patched.setattr(place, name, killed)
        with contextlib.suppress(Killed):
            app.held()
    again = app.held()
    assert again["state_dir"] == str(app.wanted)
    app.is_moved()


@needs_root
def test_half_a_copy_is_made_anew(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    half = app.wanted.parent / ".copying-shop"
    half.mkdir(parents=True)
    (half / "lock").write_text("half")
    real = os.rename

    def rename(source: Any, target: Any) -> None:
        if str(source) == str(app.former):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    app.held()
    app.is_moved()


@needs_root
def test_a_folder_that_is_exchanged_while_it_is_moved_is_not_taken(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.rename

    def rename(source: Any, target: Any) -> None:
        if str(source) == str(app.former):
            # The owner of app_root may rename what lies in it, whoever's it is.
            real(app.former, app.root / "aside")
            app.former.mkdir(0o700)
            (app.former / "lock").write_text(json.dumps({"number": 99}))
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(BadInput, match="was exchanged for another one while it was moved"):
        app.held()
    assert not app.wanted.exists() and app.before <= app.content(app.root / "aside")


@needs_root
@pytest.mark.parametrize("how", ["foreign", "link", "writable"])
def test_what_the_owner_has_put_there_is_not_moved(app: App, how: str) -> None:
    if how == "foreign":
        os.chown(app.former, OWNER, OWNER)
    elif how == "writable":
        app.former.chmod(0o777)
    else:
        app.former.rename(app.root / "aside")
        app.former.symlink_to(app.root / "aside")
    for check in (True, False):
        with pytest.raises(BadInput) as refused:
            app.held(check=check)
        assert "Now: nothing was touched" in refused.value.message()
    assert not app.wanted.exists()


@needs_root
def test_what_the_owner_puts_there_after_the_move_is_no_longer_looked_at(app: App) -> None:
    token = app.held()["lock_token"]
    app.former.unlink()
    app.former.mkdir()
    os.chown(app.former, OWNER, OWNER)
    (app.former / "journal.jsonl").write_text("")
    assert app.held(lock_token=token)["state_dir"] == str(app.wanted)


@needs_root
def test_two_folders_are_a_persons_decision(app: App) -> None:
    app.held()
    app.former.unlink()
    (app.wanted / state_folder.MOVED).unlink()
    shutil.copytree(app.wanted, app.former)
    app.former.chmod(0o700)
    with pytest.raises(BadInput) as refused:
        app.held()
    assert (
        "there are two state folders of this app" in str(refused.value) and f"mv {app.former} " in refused.value.advice
    )


@needs_root
def test_a_folder_that_the_inventory_names_is_left_where_it_is(app: App, tmp_path: Path) -> None:
    assert app.held(tmp_path / "named")["state_dir"] == str(tmp_path / "named")
    assert app.before == app.content(app.former) and not app.former.is_symlink()


# -- without root -----------------------------------------------------------------------------------------


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that another user can reach."""
    path = Path(tempfile.mkdtemp(prefix="evenkeel-state-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@needs_root
def test_without_root_it_is_a_folder_of_ones_own(home: Path) -> None:
    root = home / "srv"
    root.mkdir()
    os.chown(root, OWNER, OWNER)
    asks = (
        "import encodings.ascii, json, os, sys;"
        "from ansible_collections.evenkeel.deploy.plugins.module_utils.calls.deploy_lock import call as lock;"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534);"
        "print(json.dumps(lock({'state': 'held', 'state_dir': '/var/lib/evenkeel/evenkeel-no-such-app', 'lease': 60, 'wait': 0,"
        "'playbook': 'update', 'app_name': 'x', 'target': 'v', 'former_state_dir': sys.argv[1]}, False)))"
    )
    argv = [sys.executable, "-c", asks, str(root / ".evenkeel")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for number in (1, 2):
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert (told["state_dir"], told["number"]) == (str(root / ".evenkeel"), number)
    about = (root / ".evenkeel").stat()
    assert (about.st_uid, stat.S_IMODE(about.st_mode)) == (OWNER, 0o700)
    # Root does not believe that folder, nor move it.
    with pytest.raises(BadInput, match="belongs to nobody, and this runs as root"):
        state_folder.where("/var/lib/evenkeel/evenkeel-no-such-app", str(root / ".evenkeel"))
    # A guard runs as root all the same, and finds the lock.
    assert not Deployment("/var/lib/evenkeel/evenkeel-no-such-app", str(root / ".evenkeel")).busy()
