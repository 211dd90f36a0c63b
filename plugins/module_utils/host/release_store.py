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
from typing import Any

from ..decide import releases
from .call_result import BadInput
from .files import FilesFailed, only_one, private_directory, read_json, sync_directory, write_private
from .git import Git, GitFailed

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
        known = self.manifest(release)
        text = json.dumps({**known, **news}, indent=1, sort_keys=True) + "\n"
        return write_private(os.path.join(self.path_of(release), _MANIFEST), text)

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
        if not os.path.islink(link):
            if os.path.lexists(link):
                raise BadInput(
                    f"{link} is a real file or folder, not a link of this collection",
                    "move it away, or choose another app_root",
                )
            return ""
        return os.path.basename(os.readlink(link))

    def switch(self, release: str) -> bool:
        """Make ``current`` point to a release, atomically; returns whether it did not yet."""
        if self.current() == release:
            return False
        temporary = os.path.join(self.root, f".current-{secrets.token_hex(6)}")
        os.symlink(os.path.join("releases", release), temporary)
        try:
            os.replace(temporary, os.path.join(self.root, "current"))
        except OSError:
            os.unlink(temporary)
            raise
        sync_directory(self.root)
        return True

    def make_folders(self) -> None:
        """``app_root`` and what stands in it, belonging to the owner."""
        user = pwd.getpwnam(self.owner) if self.owner else None
        for path in (self.root, self.folder, *(os.path.join(self.root, name) for name in ("shared", "mirror.git"))):
            if not os.path.isdir(path):
                os.makedirs(path, 0o755)
                if user and os.geteuid() == 0:
                    os.chown(path, user.pw_uid, user.pw_gid)

    def create(self, git: Git, revision: str, version: str, shared: list[str]) -> str:
        """Write a revision's tree as a new release: whole under its name, or not there at all."""
        for name in os.listdir(self.folder):
            if name.startswith(".making-"):
                shutil.rmtree(os.path.join(self.folder, name))
        release = releases.new_id(time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()), revision, os.listdir(self.folder))
        making = os.path.join(self.folder, f".making-{release}")
        os.mkdir(making, 0o755)
        user = pwd.getpwnam(self.owner) if self.owner else None
        if user and os.geteuid() == 0:
            os.chown(making, user.pw_uid, user.pw_gid)
        git.export(revision, making)
        os.makedirs(os.path.join(making, ".evenkeel"), 0o700, exist_ok=True)
        for path in shared:
            self._link_shared(making, path)
        manifest = {
            "id": release,
            "revision": revision,
            "version": version,
            "state": releases.PREPARING,
            "created": int(time.time()),
        }
        write_private(os.path.join(making, _MANIFEST), json.dumps(manifest, indent=1, sort_keys=True) + "\n")
        os.rename(making, self.path_of(release))
        sync_directory(self.folder)
        return release

    def _link_shared(self, tree: str, path: str) -> None:
        target = os.path.join(tree, path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
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
        return _manage(store, params, True)
    try:
        directory = private_directory(str(params.get("state_dir") or os.path.join(store.root, ".evenkeel")))
        with only_one(directory, f"symlink_release of {store.root}"):
            return _manage(store, params, False)
    except FilesFailed as error:
        raise BadInput(str(error)) from error


def _manage(store: Store, params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    if params["state"] == "present":
        return _present(store, params, check_mode)
    release = str(params.get("release") or "")
    manifest = store.manifest(release) if releases.is_id(release) else {}
    if not manifest:
        known = ", ".join(r.id for r in store.all()) or "none"
        raise BadInput(f"there is no release {release or '(none named)'} in {store.folder}", f"there are: {known}")
    if params["state"] == "bad":
        changed = manifest.get("state") != releases.BAD and store.current() != release
        if changed and not check_mode:
            store.note(release, state=releases.BAD)
        return _facts(store, release, changed)
    changed = store.current() != release or manifest.get("state") != releases.VERIFIED
    if changed and not check_mode:
        store.switch(release)
        store.note(release, state=releases.VERIFIED)
    return {**_facts(store, release, changed), "previous": store.current() if check_mode else ""}


def _facts(store: Store, release: str, changed: bool) -> dict[str, Any]:
    manifest = store.manifest(release)
    return {
        "changed": changed, "release": release, "release_path": store.path_of(release),
        "revision": manifest.get("revision", ""), "exists": bool(manifest),
        "release_state": manifest.get("state", ""), "current": store.current(),
        "current_revision": store.manifest(store.current()).get("revision", "") if store.current() else "",
    }  # fmt: skip


def _present(store: Store, params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    version, url = str(params["version"]), str(params["repo"])
    problem = releases.problem_with_ref(version)
    if problem:
        raise BadInput(problem, "set update_version to a branch, tag or commit")
    git = Git(os.path.join(store.root, "mirror.git"), store.owner)
    try:
        if check_mode:
            revision = git.remote_commit(url, version) or version
        else:
            store.make_folders()
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
        return _facts(store, store.create(git, revision, version, list(params.get("shared") or [])), True)
    except GitFailed as error:
        raise BadInput(str(error), error.advice) from error
