# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call of ``symlink_release``."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Callable

from ..decide import releases
from ..journal import working
from . import retention
from .call_result import BadInput
from .git import Git, GitFailed
from .release_store import Store

#: Gives what a single act is done under: the lock's fence, or nothing where nothing is done.
Act = Callable[[str], AbstractContextManager[None]]


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
            store.note(release, state=releases.VERIFIED, verified=int(time.time()))
    facts = _facts(store, release, changed)
    if params.get("keep") and changed and not check_mode:
        cleared = retention.clear(store, int(params["keep"]), act)
        facts.update(removed=cleared.releases, removed_images=cleared.images, notes=cleared.notes)
    return facts


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
