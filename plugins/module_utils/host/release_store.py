# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder of releases under ``app_root`` and its ``current`` link; one call of ``symlink_release``."""

from __future__ import annotations

import json
import os
import pwd
import secrets
import shutil
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Callable

from ..decide import releases
from ..journal import working
from .call_result import BadInput
from .files import read_json, sync_directory, write_private
from .git import Git, GitFailed

#: Gives what a single act is done under: the lock's fence, or nothing where nothing is done.
Act = Callable[[str], AbstractContextManager[None]]
_MAKING, _LINK = ".making-", ".current-"
_MANIFEST = os.path.join(".evenkeel", "manifest.json")


class Store:
    """The releases of one app.

    :param root: ``app_root``, absolute.
    :param owner: user to whom trees belong, empty for the present one.
    """

    def __init__(self, root: str, owner: str = "") -> None:
        self.root = root
        self.owner = owner
        self.folder = os.path.join(root, "releases")

    def path_of(self, release: str) -> str:
        """A release's folder."""
        return os.path.join(self.folder, release)

    def manifest(self, release: str) -> dict[str, Any]:
        """A release's manifest, empty when it has none."""
        return read_json(os.path.join(self.path_of(release), _MANIFEST))

    def note(self, release: str, **news: Any) -> bool:
        """Write something into a release's manifest; returns whether that changed it."""
        return self._write_manifest(self.path_of(release), {**self.manifest(release), **news})

    def all(self) -> list[releases.Release]:
        """Every whole release."""
        names = sorted(os.listdir(self.folder)) if os.path.isdir(self.folder) else []
        manifests = {n: self.manifest(n) for n in names if releases.is_id(n)}
        return [
            releases.Release(n, str(m["revision"]), str(m.get("state")))
            for n, m in manifests.items()
            if m.get("revision")
        ]

    def current(self) -> str:
        """The id that ``current`` points to, empty when there is none.

        :raises BadInput: ``current`` is no link of ours.
        """
        link = os.path.join(self.root, "current")
        advice = "move it away, or choose another app_root"
        if not os.path.islink(link):
            if os.path.lexists(link):
                raise BadInput(f"{link} is a real file or folder, not a link of this collection", advice)
            return ""
        target = os.readlink(link)
        folder, name = os.path.split(target)
        if folder not in ("releases", self.folder) or not releases.is_id(name):
            raise BadInput(f"{link} leads to {target}, which is no release of this collection", advice)
        return name

    def switch(self, release: str) -> bool:
        """Make ``current`` point to a release, atomically; returns whether it did not yet."""
        if self.current() == release:
            return False
        for name in os.listdir(self.root):
            # What a run left that was killed between the two calls below; the lock says that none is between them now.
            if name.startswith(_LINK):
                os.unlink(os.path.join(self.root, name))
        temporary = os.path.join(self.root, f"{_LINK}{secrets.token_hex(6)}")
        os.symlink(os.path.join("releases", release), temporary)
        try:
            os.replace(temporary, os.path.join(self.root, "current"))
        except OSError:
            os.unlink(temporary)
            raise
        sync_directory(self.root)
        return True

    def _own(self, path: str) -> None:
        """A new folder is the owner's and readable for all, whatever the umask is: other users' services mount it."""
        os.chmod(path, 0o755)
        if self.owner and os.geteuid() == 0:
            user = pwd.getpwnam(self.owner)
            os.chown(path, user.pw_uid, user.pw_gid)

    def make_folders(self) -> None:
        """``app_root`` and what stands in it, belonging to the owner."""
        if os.path.isdir(self.root) and set(os.listdir(self.root)) <= {".evenkeel"}:
            # The lock's folder was made in it before it; a folder that a user made stays as it is.
            self._own(self.root)
        for path in (self.root, self.folder, *(os.path.join(self.root, name) for name in ("shared", "mirror.git"))):
            if not os.path.isdir(path):
                os.makedirs(path)
                self._own(path)

    def create(self, git: Git, revision: str, version: str, shared: list[str]) -> str:
        """Write a revision's tree as a new release: whole under its name, or not there at all."""
        for name in os.listdir(self.folder):
            if name.startswith(_MAKING):
                shutil.rmtree(os.path.join(self.folder, name))
        release = releases.new_id(time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()), revision, os.listdir(self.folder))
        making = os.path.join(self.folder, f"{_MAKING}{release}")
        os.mkdir(making)
        self._own(making)
        try:
            self._fill(making, git, revision, shared)
            news = {"id": release, "revision": revision, "version": version, "created": int(time.time())}
            self._write_manifest(making, {**news, "state": releases.PREPARING})
            os.rename(making, self.path_of(release))
        except BaseException:
            shutil.rmtree(making, ignore_errors=True)
            raise
        sync_directory(self.folder)
        return release

    def _fill(self, making: str, git: Git, revision: str, shared: list[str]) -> None:
        git.export(revision, making)
        os.mkdir(os.path.join(making, ".evenkeel"), 0o700)
        for path in shared:
            self._link_shared(making, path)

    @staticmethod
    def _write_manifest(tree: str, manifest: Mapping[str, Any]) -> bool:
        return write_private(os.path.join(tree, _MANIFEST), json.dumps(manifest, indent=1, sort_keys=True) + "\n")

    def _link_shared(self, tree: str, path: str) -> None:
        target = os.path.join(tree, path)
        folder = os.path.dirname(target)
        if os.path.realpath(folder) != os.path.join(os.path.realpath(tree), os.path.dirname(path)).rstrip("/"):
            raise BadInput(f"the folder of {path} is a link in the revision", f"keep {path} in a folder of its own")
        os.makedirs(folder, exist_ok=True)
        if os.path.lexists(target):
            raise BadInput(
                f"{path} is in the revision and in shared/ as well", f"remove {path} from git: it belongs to the server"
            )
        depth = path.count("/") + 2
        os.symlink(os.path.join(*[".."] * depth, "shared", path), target)


def _checked(params: Mapping[str, Any]) -> Store:
    root = str(params["path"])
    if not os.path.isabs(root) or ".." in root.split("/"):
        raise BadInput(f"path {root} must be absolute and without ..")
    owner = str(params.get("owner") or "")
    if owner:
        try:
            pwd.getpwnam(owner)
        except KeyError as error:
            raise BadInput(f"there is no user {owner} on this host", "make the user, or set app_owner") from error
        me = pwd.getpwuid(os.geteuid()).pw_name
        if me not in ("root", owner):
            raise BadInput(
                f"{me} cannot run git as user {owner}", "run with become: true, or set app_owner to the one who runs"
            )
    for path in params.get("shared") or []:
        problem = releases.problem_with_shared(path)
        if problem:
            raise BadInput(problem)
        if not os.path.exists(os.path.join(root, "shared", path)):
            raise BadInput(
                f"{os.path.join(root, 'shared', path)} is not there",
                f"put the server's own {path} there (mode 0600) and run this again",
            )
    return Store(root, owner)


def manage_release(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call of the module.

    :raises BadInput: nothing was touched.
    """
    store = _checked(params)
    if check_mode:
        return _manage(store, params, True, lambda _what: nullcontext())
    if params["state"] == "present":
        store.make_folders()
    directory = str(params.get("state_dir") or os.path.join(store.root, ".evenkeel"))
    with working(params, directory, f"symlink_release of {store.root}") as fence:
        return fence.told(_manage(store, params, False, fence.act))


def _manage(store: Store, params: Mapping[str, Any], check_mode: bool, act: Act) -> dict[str, Any]:
    if params["state"] == "present":
        return _present(store, params, check_mode, act)
    release = str(params.get("release") or "")
    manifest = store.manifest(release) if releases.is_id(release) else {}
    if not manifest:
        known = ", ".join(r.id for r in store.all()) or "none"
        raise BadInput(f"there is no release {release or '(none named)'} in {store.folder}", f"there are: {known}")
    if params["state"] == "bad":
        changed = manifest.get("state") != releases.BAD and store.current() != release
        if changed and not check_mode:
            with act(f"mark {release} bad"):
                store.note(release, state=releases.BAD)
        return _facts(store, release, changed)
    changed = store.current() != release or manifest.get("state") != releases.VERIFIED
    if changed and not check_mode:
        with act(f"switch current to {release}"):
            store.switch(release)
            store.note(release, state=releases.VERIFIED)
    return _facts(store, release, changed)


def _facts(store: Store, release: str, changed: bool) -> dict[str, Any]:
    manifest = store.manifest(release)
    return {
        "changed": changed, "release": release, "release_path": store.path_of(release),
        "revision": manifest.get("revision", ""), "exists": bool(manifest),
        "release_state": manifest.get("state", ""), "current": store.current(),
        "current_revision": store.manifest(store.current()).get("revision", "") if store.current() else "",
    }  # fmt: skip


def _present(store: Store, params: Mapping[str, Any], check_mode: bool, act: Act) -> dict[str, Any]:
    version, url = str(params["version"]), str(params["repo"])
    problem = releases.problem_with_ref(version)
    if problem:
        raise BadInput(problem, "set update_version to a branch, tag or commit")
    git = Git(os.path.join(store.root, "mirror.git"), store.owner)
    try:
        if check_mode:
            revision = git.planned_commit(url, version)
        else:
            git.update(url)
            revision = git.commit_of(version)
            complaints = git.objections(revision)
            if complaints:
                raise BadInput(f"revision {revision[:12]} cannot be exported: {complaints[0]}")
        found = releases.release_for(revision, store.all(), store.current())
        if found:
            return _facts(store, found, False)
        if check_mode:
            return {**_facts(store, "", True), "revision": revision, "exists": False, "release_path": ""}
        with act(f"export {revision[:12]}"):
            made = store.create(git, revision, version, list(params.get("shared") or []))
        return _facts(store, made, True)
    except GitFailed as error:
        raise BadInput(str(error), error.advice) from error
