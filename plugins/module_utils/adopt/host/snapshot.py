# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tree of a folder that an app runs from, as it is: what git knows of it and what was changed since, or all of it."""

from __future__ import annotations

import hashlib
import os
import pwd
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...base.errors import BadInput
from ...base.host.directory_handles import (
    EXCHANGED,
    copy_below,
    give_tree_away,
    open_below,
    open_file,
    open_private,
    path_of,
)
from ...drift.drift import is_below
from ...git.host.git import Git, GitFailed
from ...releases.host.plain_folder import open_source
from ...releases.mounted_content import is_code, is_store, worth_keeping


@dataclass(frozen=True)
class Snapshot:
    """What there is to copy.

    :ivar paths: files and links, relative, sorted.
    :ivar revision: the commit where nothing differs from it, else forty digits of a digest over the content.
    :ivar commit: what is checked out, empty without git.
    :ivar edits: what differs from that commit.
    """

    folder: str
    paths: tuple[str, ...]
    revision: str
    commit: str = ""
    edits: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Bytes and files."""
        return sum(os.lstat(os.path.join(self.folder, p)).st_size for p in self.paths), len(self.paths)


def git_of(folder: str) -> Git | None:
    """git on a folder, as the user who owns it; None where it is no checkout.

    :raises BadInput: its owner is nobody.
    """
    inside = os.path.join(folder, ".git")
    if not os.path.lexists(inside):
        return None
    try:
        return Git(inside, pwd.getpwuid(os.lstat(inside).st_uid).pw_name)
    except KeyError as error:
        raise BadInput(
            f"{inside} belongs to no user of this host", f"chown it to the one who runs git in {folder}"
        ) from error


def _asked(git: Git, folder: str, *words: str) -> list[str]:
    # Their index is not for us.
    extra = (("GIT_OPTIONAL_LOCKS", "0"),)
    printed = git.run("-C", folder, "-c", "core.quotePath=false", *words, extra=extra)
    return [entry for entry in printed.split("\0") if entry]


def tracked(folder: str, paths: Sequence[str]) -> list[str]:
    """Those of these relative paths that git has in a folder; none without git.

    :raises BadInput: the folder's owner is nobody.
    :raises GitFailed: git does not answer.
    """
    git = git_of(folder) if paths else None
    return _asked(git, folder, "ls-files", "-z", "--", *(f":(top,literal){p}" for p in paths)) if git else []


def contents(
    folder: str, below: Iterable[str], left_out: Sequence[str]
) -> dict[str, tuple[list[str], list[str]]] | None:
    """What git has below each of these paths of a checkout, and what only the server has; None without git.

    :param below: relative paths; what lies below another of them is that one's.
    :param left_out: relative paths that are looked after otherwise.
    :returns: path → paths below it, a whole folder of the server's own ending in ``/``.
    """
    git = git_of(folder)
    if git is None:
        return None
    every = list(below)
    try:
        return {p: _content(git, folder, p, [o for o in (*every, *left_out) if o != p]) for p in every}
    except GitFailed as error:
        raise BadInput(str(error), error.advice) from error


#: A folder of which git has nothing is named as one; the engine makes empty ones, to mount something there.
_FOLDERS = ("--directory", "--no-empty-directory")


def _content(git: Git, folder: str, path: str, apart: Sequence[str]) -> tuple[list[str], list[str]]:
    where = ("--", f":(top,literal){path}") if path != "." else ()
    listed = ("ls-files", "-z")
    known = _asked(git, folder, *listed, *where)
    ignored = _asked(git, folder, *listed, "--others", "--ignored", "--exclude-standard", *_FOLDERS, *where)
    new = [p for p in _asked(git, folder, *listed, "--others", "--exclude-standard", *where) if not is_code(p)]
    changed = [p for p in _asked(git, folder, *listed, "--modified", *where) if is_store(p)]
    prefix = "" if path == "." else f"{path}/"
    # Of other mounts below this one nothing counts here, and with it nothing of a folder that has nothing else in it.
    within = [a for a in apart if a.startswith(prefix)]
    own = [p for p in (*ignored, *new, *changed) if not is_below(p.rstrip("/"), within)]
    own = [p for p in own if not (p.endswith("/") and _only_others(folder, p, within))]
    return [p[len(prefix) :] for p in known], [p[len(prefix) :] for p in worth_keeping(own)]


def _only_others(folder: str, path: str, within: Sequence[str]) -> bool:
    """Whether all files of a folder lie below one of these paths."""
    if not any(a.startswith(path) for a in within):
        return False
    return all(
        is_below(os.path.relpath(os.path.join(parent, name), folder), within)
        for parent, _folders, names in os.walk(os.path.join(folder, path))
        for name in names
    )


def look(folder: str, left_out: Sequence[str]) -> Snapshot:
    """See what there is to copy, touching nothing.

    :param left_out: relative paths that are none of a version's: data, the server's own environment.
    :raises BadInput: it holds what a release cannot.
    """
    git = git_of(folder)
    try:
        commit, edits, paths = _of_checkout(git, folder, left_out) if git else ("", (), _all_of(folder, left_out))
    except GitFailed as error:
        raise BadInput(str(error), error.advice) from error
    for path in paths:
        _refuse_what_no_release_holds(folder, path)
    revision = commit if git and not edits else digest(folder, paths)
    return Snapshot(folder, tuple(paths), revision, commit, tuple(edits))


def _of_checkout(git: Git, folder: str, left_out: Sequence[str]) -> tuple[str, list[str], list[str]]:
    (top,) = _asked(git, folder, "rev-parse", "--show-toplevel")[:1] or [""]
    if os.path.realpath(top.rstrip("\n")) != os.path.realpath(folder):
        raise BadInput(f"{folder} is no whole checkout: git's is {top.strip()}", "name that folder")
    commit = "".join(_asked(git, folder, "rev-parse", "--verify", "HEAD")).strip()
    known = _asked(git, folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    paths = sorted({p for p in known if not is_below(p, left_out) and os.path.lexists(os.path.join(folder, p))})
    report = _asked(git, folder, "status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=all")
    return commit, sorted(e[3:] for e in report if not is_below(e[3:], left_out)), paths


def _all_of(folder: str, left_out: Sequence[str]) -> list[str]:
    found = []
    for parent, folders, names in os.walk(folder):
        inside = os.path.relpath(parent, folder)
        prefix = "" if inside == "." else f"{inside}/"
        folders[:] = [n for n in folders if not is_below(prefix + n, left_out) and n != "__pycache__"]
        linked = [n for n in folders if os.path.islink(os.path.join(parent, n))]
        found += [
            prefix + n for n in (*names, *linked) if not is_below(prefix + n, left_out) and not n.endswith(".pyc")
        ]
    return sorted(found)


def _refuse_what_no_release_holds(folder: str, path: str) -> None:
    mode = os.lstat(os.path.join(folder, path)).st_mode
    if path.split("/")[0].startswith(".evenkeel"):
        raise BadInput(f"{path} has a name that this collection keeps for its own record of a release", "rename it")
    if stat.S_ISDIR(mode):
        raise BadInput(
            f"{path} is a repository in the repository, whose files are not part of it", "keep its files in git"
        )
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        raise BadInput(f"{os.path.join(folder, path)} is no file, folder or link", "remove it from the folder")


def digest(folder: str, paths: Iterable[str]) -> str:
    """Forty digits of a digest over names, permissions and contents."""
    total = hashlib.sha256()
    for path in paths:
        full = os.path.join(folder, path)
        mode = os.lstat(full).st_mode
        content = hashlib.sha256()
        if stat.S_ISLNK(mode):
            content.update(os.fsencode(os.readlink(full)))
        else:
            with open_file(full) as stream:
                for block in iter(lambda: stream.read(1024 * 1024), b""):
                    content.update(block)
        executable = bool(mode & 0o100) and not stat.S_ISLNK(mode)
        total.update(os.fsencode(f"{path}\0{stat.S_IFMT(mode):o}\0{executable}\0{content.hexdigest()}\0"))
    return total.hexdigest()[:40]


def copy(seen: Snapshot, target: str, owner: str) -> None:
    """Copy it into an existing empty folder that only this user can enter.

    :param owner: to whom the copy belongs, empty for who runs this.
    :raises BadInput: it changed in the meantime.
    """
    changed = BadInput(f"{seen.folder} changed while it was copied", "wait until that has ended, then run this again")
    with open_private(target) as copied:
        try:
            before = digest(seen.folder, seen.paths)
            with open_source(seen.folder) as source:
                for path in seen.paths:
                    folder, name = os.path.split(path)
                    with open_below(source, folder) as inside, open_below(copied, folder, make=0o755) as beside:
                        copy_below(inside, name, beside)
            if digest(path_of(copied), seen.paths) != before or (not seen.commit and before != seen.revision):
                raise changed
        except OSError as error:
            if error.errno in EXCHANGED:
                raise changed from error
            raise
        user = pwd.getpwnam(owner) if owner else None
        give_tree_away(copied, (user.pw_uid, user.pw_gid) if user else None)
