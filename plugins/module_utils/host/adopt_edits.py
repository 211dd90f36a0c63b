# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was changed by hand in a stack that is taken over, and keeping it as commits that nobody has to merge."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from collections.abc import Sequence

from ..decide.drift import is_below
from .adopt_view import View
from .call_result import BadInput
from .container_edits import Edits, in_tree
from .container_files import TooMuch
from .drift import Drifts
from .engine import EngineFailed
from .git import Git, GitFailed
from .release_store import Store

#: Where in the mirror: beside the branches of the repository, which a fetch makes equal to it.
REFS = "refs/adopted"


def capture(store: Store, view: View, edits: Edits, tree: str, moment: str) -> str:
    """Commit what was found: the folder as it was, and what of the containers' edits belongs to files of it.

    :param tree: the release's folder.
    :returns: the name under :data:`REFS` of the mirror; git takes it wherever it takes a branch.
    :raises BadInput: git refuses.
    """
    git = Git(os.path.join(store.root, "mirror.git"), store.owner)
    name = f"adopted/{moment}"
    try:
        if not os.path.isdir(os.path.join(git.mirror, "objects")):
            git.run("init", "--quiet", "--bare", git.mirror)
        if view.tree.commit:
            git.inside("fetch", "--quiet", "--no-write-fetch-head", "--", view.origin.folder, "HEAD")
        with tempfile.TemporaryDirectory(prefix="evenkeel-") as private:
            _give(private, store.owner)
            extra = _identity(os.path.join(private, "index"))
            work = os.path.join(private, "tree")
            shutil.copytree(tree, work, symlinks=True, ignore=lambda f, n: _ours(f, n, tree, view))
            _give(work, store.owner)
            git.inside("--work-tree", work, "add", "--all", "--force", ".", extra=extra)
            parents = ["-p", view.tree.commit] if view.tree.commit else []
            commit = _commit(git, parents, f"The folder as it ran: {view.origin.folder}", extra)
            if _write_edits(view, edits, work):
                _give(work, store.owner)
                git.inside("--work-tree", work, "add", "--all", "--force", ".", extra=extra)
                commit = _commit(git, ["-p", commit], "What was changed by hand in containers", extra)
            git.inside("update-ref", f"refs/{name}", commit)
    except GitFailed as error:
        raise BadInput(f"what was changed by hand could not be kept: {error}", error.advice) from error
    return name


def _commit(git: Git, parents: Sequence[str], message: str, extra: Sequence[tuple[str, str]]) -> str:
    tree = git.inside("write-tree", extra=extra).strip()
    return git.inside("commit-tree", tree, *parents, "-m", message, extra=extra).strip()


def _identity(index: str) -> tuple[tuple[str, str], ...]:
    who = [(f"GIT_{role}_{key}", value) for role in ("AUTHOR", "COMMITTER")
           for key, value in (("NAME", "evenkeel adopt"), ("EMAIL", "adopt@localhost"))]  # fmt: skip
    return (("GIT_INDEX_FILE", index), *who)


def _give(path: str, owner: str) -> None:
    if owner and os.geteuid() == 0:
        user = pwd.getpwnam(owner)
        for folder, _folders, names in os.walk(path):
            for entry in (folder, *(os.path.join(folder, n) for n in names)):
                os.chown(entry, user.pw_uid, user.pw_gid, follow_symlinks=False)


def _ours(folder: str, names: Sequence[str], tree: str, view: View) -> list[str]:
    """What a release has besides the folder's files."""
    inside = os.path.relpath(folder, tree)
    paths = {n: n if inside == "." else f"{inside}/{n}" for n in names}
    own = set(view.tree.paths)
    parents = {p[:i] for p in own for i, c in enumerate(p) if c == "/"}
    return [n for n, p in paths.items() if p not in own and p not in parents]


def _write_edits(view: View, edits: Edits, work: str) -> bool:
    """Bring the containers' edits into a copy of the tree, where they are of files of it; whether there was any."""
    known = {
        path: _sum(os.path.join(work, path)) for path in view.tree.paths if os.path.isfile(os.path.join(work, path))
    }
    written = False
    with Drifts(view.engine, str(view.project["name"])) as drifts:
        for inspection, found in edits.seen:
            try:
                for _difference, inside, new in in_tree(drifts, inspection, found, known):
                    if not is_below(inside, [".git", ".evenkeel", *view.data]):
                        written = _put(work, inside, new) or written
            except (EngineFailed, TooMuch) as error:
                edits.notes.append(f"{found.name}: not all that was changed by hand could be kept: {error}")
    return written


def _sum(path: str) -> str:
    import hashlib

    with open(path, "rb") as stream:
        return hashlib.sha256(stream.read()).hexdigest()


def _put(work: str, inside: str, content: bytes | None) -> bool:
    path = os.path.normpath(os.path.join(work, inside))
    folder = os.path.dirname(path)
    # A link in the tree could lead out of it.
    if not path.startswith(f"{work}/") or not f"{os.path.realpath(folder)}/".startswith(f"{os.path.realpath(work)}/"):
        return False
    if content is None:
        if os.path.lexists(path):
            os.unlink(path)
        return True
    os.makedirs(folder, exist_ok=True)
    if os.path.islink(path):
        return False
    with open(path, "wb") as stream:
        stream.write(content)
    return True
