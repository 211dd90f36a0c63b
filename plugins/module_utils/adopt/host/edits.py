# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was changed by hand in a stack that is taken over, and keeping it as commits that nobody has to merge."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from collections.abc import Sequence
from typing import Callable

from ...base.errors import BadInput
from ...base.host.directory_handles import (
    LinkMet,
    copy_all,
    give_away,
    give_tree_away,
    make_below,
    open_below,
    open_folder,
    read_file,
    write_below,
)
from ...drift.drift import is_below
from ...drift.host.container_edits import Edits, in_tree
from ...drift.host.containers import Drifts
from ...engine.host.container_files import TooMuch
from ...engine.host.engine import EngineFailed
from ...git.host.git import Git, GitFailed
from ...releases.host.store import Store
from .view import View

#: Where in the mirror: beside the branches of the repository, which a fetch makes equal to it.
REFS = "refs/adopted"


def capture(store: Store, view: View, edits: Edits, tree: str, moment: str) -> str:
    """Commit what was found: the folder as it was, and what of the containers' edits belongs to files of it.

    :param tree: the release's folder.
    :returns: the name under :data:`REFS` of the mirror; git takes it wherever it takes a branch.
    :raises BadInput: git refuses.
    """
    git = Git(store.layout.mirror, store.owner)
    name = f"adopted/{moment}"
    try:
        if not os.path.isdir(os.path.join(git.mirror, "objects")):
            git.run("init", "--quiet", "--bare", git.mirror)
        if view.tree.commit:
            git.inside("fetch", "--quiet", "--no-write-fetch-head", "--", view.origin.folder, "HEAD")
        with tempfile.TemporaryDirectory(prefix="evenkeel-") as private:
            extra = _identity(os.path.join(private, "index"))
            work = os.path.join(private, "tree")
            with open_folder(private) as folder, open_folder(tree) as release:
                with make_below(folder, "tree", 0o755) as copied:
                    copy_all(release, copied, _ours(view))
                # Only now: the owner could have put links there, and root would have followed them.
                give_tree_away(folder, git.ids)
                give_away(folder, git.ids)
            git.inside("--work-tree", work, "add", "--all", "--force", ".", extra=extra)
            parents = ["-p", view.tree.commit] if view.tree.commit else []
            commit = _commit(git, parents, f"The folder as it ran: {view.origin.folder}", extra)
            if _write_edits(view, edits, work):
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


def _ours(view: View) -> Callable[[str], bool]:
    """Tells of a path of a release whether the release has it besides the folder's files."""
    own = set(view.tree.paths)
    parents = {p[:i] for p in own for i, c in enumerate(p) if c == "/"}
    return lambda path: path not in own and path not in parents


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
    return hashlib.sha256(read_file(path)).hexdigest()


def _put(work: str, inside: str, content: bytes | None) -> bool:
    folder, name = os.path.split(os.path.normpath(inside))
    try:
        # A link in the tree could lead out of it, and its owner may put one there now.
        with open_folder(work) as top, open_below(top, folder, make=0o755, like_above=True) as opened:
            if content is None:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=opened)
                return True
            above = os.fstat(opened)
            mode = above.st_mode & 0o666
            with contextlib.suppress(FileNotFoundError):
                known = os.stat(name, dir_fd=opened, follow_symlinks=False)
                if not stat.S_ISREG(known.st_mode):
                    return False
                mode = known.st_mode & 0o777
            write_below(opened, name, content, mode, (above.st_uid, above.st_gid))
    except (LinkMet, NotADirectoryError):
        return False
    return True
