# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hotfixes as commits of the mirror, and whether a later revision has them: by trees, so however they came there."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence

from ...base.host.directory_handles import open_folder, write_below
from ...git.host.content import IDENTITY
from ...git.host.git import Git, GitFailed
from ..lost_hotfixes import HAS, LACKS, UNSURE, Applied

#: Where the mirror keeps them: a fetch takes away branches that the repository has not.
REFS = "refs/evenkeel/hotfix/"


class TriedGit(Git):
    """The same mirror, with what is written kept in a folder that goes away: for asking what would be."""

    def __init__(self, git: Git, folder: str) -> None:
        super().__init__(git.mirror, git.owner)
        self._extra = (
            ("GIT_OBJECT_DIRECTORY", folder),
            ("GIT_ALTERNATE_OBJECT_DIRECTORIES", os.path.join(git.mirror, "objects")),
        )

    def run(self, *words: str, timeout: float = 600.0, extra: Sequence[tuple[str, str]] = ()) -> str:
        """As :meth:`Git.run`."""
        return super().run(*words, timeout=timeout, extra=(*extra, *self._extra))


@contextlib.contextmanager
def private_to(git: Git) -> Iterator[str]:
    """A folder that git's user may write to, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="evenkeel-") as folder:
        git.give(folder)
        yield folder


def _put(folder: str, name: str, content: bytes) -> str:
    with open_folder(folder) as handle:
        # Git's user may have put anything there.
        write_below(handle, name, content, 0o644)
    return os.path.join(folder, name)


def commit_files(git: Git, base: str, files: Mapping[str, bytes], message: str) -> str:
    """A commit on ``base`` with these contents; ``base`` itself where it has them already."""
    with private_to(git) as folder:
        extra = (("GIT_INDEX_FILE", os.path.join(folder, "index")),)
        git.inside("read-tree", base, extra=extra)
        names = sorted(files)
        # One process for all files: each costs more than what it does.
        at = [_put(folder, str(number), files[path]) for number, path in enumerate(names)]
        blobs = git.inside("hash-object", "-w", "--no-filters", "--", *at).split()
        known = git.inside("ls-files", "--stage", "-z", "--", *(f":(literal){p}" for p in names), extra=extra)
        modes = {path: about.split(" ")[0] for about, _tab, path in (e.partition("\t") for e in known.split("\0"))}
        words: list[str] = []
        for path, blob in zip(names, blobs):
            if any(other.startswith(f"{path}/") for other in modes):
                raise GitFailed(f"{path} is a folder in the running revision")
            mode = modes.get(path, "100644")
            if not mode.startswith("100"):
                raise GitFailed(f"{path} is no plain file in the running revision (a link or a submodule)")
            words += ["--cacheinfo", f"{mode},{blob},{path}"]
        git.inside("update-index", "--add", *words, extra=extra)
        return _commit(git, base, message, extra)


def commit_patch(git: Git, base: str, patch: str, message: str) -> str:
    """A commit on ``base`` with a patch; ``base`` itself where it has it already.

    :raises GitFailed: it does not apply.
    """
    with private_to(git) as folder:
        extra = (("GIT_INDEX_FILE", os.path.join(folder, "index")),)
        at = _put(folder, "patch", patch.encode("utf-8", "surrogateescape"))
        git.inside("read-tree", base, extra=extra)
        words = ("apply", "--cached", "--whitespace=nowarn")
        try:
            git.inside(*words, "--", at, extra=extra)
        except GitFailed as error:
            with contextlib.suppress(GitFailed):
                git.inside(*words, "--check", "--reverse", "--", at, extra=extra)
                return base
            raise GitFailed(
                f"the patch does not apply to the running revision {base[:12]}: {error}",
                f"make it against that revision: git switch --detach {base[:12]}, change it there, git diff",
            ) from error
        return _commit(git, base, message, extra)


def _commit(git: Git, base: str, message: str, extra: Sequence[tuple[str, str]]) -> str:
    return committed(git, base, git.inside("write-tree", extra=extra).strip(), message)


def committed(git: Git, base: str, tree: str, message: str) -> str:
    """A commit on ``base`` with a tree; ``base`` itself where that is its own, or was given in its place."""
    tree = git.inside("rev-parse", f"{tree}^{{tree}}").strip()
    tree_before, moment = git.inside("show", "--no-patch", "--format=%T %ct", base).split()
    if tree == tree_before:
        return base
    # The same fix on the same revision is the same commit, whenever it is made: a second run finds it.
    dates = tuple((f"GIT_{role}_DATE", f"{moment} +0000") for role in ("AUTHOR", "COMMITTER"))
    return git.inside("commit-tree", tree, "-p", base, "-m", message, extra=(*IDENTITY, *dates)).strip()


def paths_of(git: Git, commit: str) -> list[str]:
    """Every file of a commit."""
    return [p for p in git.inside("ls-tree", "-r", "-z", "--name-only", "--full-tree", commit).split("\0") if p]


def size_of(git: Git, commit: str, path: str) -> int:
    """The bytes of a file of a commit."""
    return int(git.inside("cat-file", "-s", f"{commit}:{path}"))


def patch_between(git: Git, base: str, commit: str, binary: Sequence[str] = ()) -> str:
    """What a commit changes, as people read it.

    :param binary: its files that are no text; sizes and checksums (those of ``git hash-object``) tell of these.
    """
    text = git.inside("diff-tree", "-p", "--no-color", "--no-ext-diff", "--no-textconv", base, commit)
    for path in binary:
        before, after = (_summary(git, one, path) for one in (base, commit))
        text += f"{path}: {before} -> {after}\n"
    return text


def _summary(git: Git, commit: str, path: str) -> str:
    entry = git.inside("ls-tree", "--long", "-z", commit, "--", f":(literal){path}").split("\t")[0].split()
    return f"{entry[3]} bytes ({entry[2]})" if len(entry) == 4 else "nothing"


def lacking(git: Git, hotfixes: Sequence[Applied], revision: str) -> list[tuple[Applied, str]]:
    """Those of the hotfixes, oldest first, that a revision has not or of which nobody can tell."""
    if not hotfixes:
        return []
    first, last = hotfixes[0], hotfixes[-1]
    if verdict_on(git, Applied("all", first.base, last.commit), revision) == HAS:
        # One may have changed lines of another: together they are there.
        return []
    found = [(h, verdict_on(git, h, revision)) for h in hotfixes]
    return [(h, v) for h, v in found if v != HAS]


def verdict_on(git: Git, hotfix: Applied, revision: str) -> str:
    """Whether a revision has a hotfix: merged into it once more it would change nothing.

    Trees are compared, without the history that both may share: there a later revert would count as having it.
    """
    # One process for all that has to be there: each costs more than what it does.
    there = [f"{commit}^{{commit}}" for commit in (hotfix.base, hotfix.commit)]
    try:
        tree = git.inside("rev-parse", *there, f"{revision}^{{tree}}").split()[-1]
        together = merged(git, hotfix.base, revision, hotfix.commit)
    except GitFailed:
        return UNSURE
    return HAS if together == tree else LACKS


def merged(git: Git, base: str, ours: str, theirs: str) -> str:
    """The tree of three trees merged.

    :raises GitFailed: they conflict.
    """
    if git.version() < (2, 38):
        return _merged_in_an_index(git, base, ours, theirs)
    root = _bare_commit(git, base)
    sides = [_bare_commit(git, side, "-p", root) for side in (ours, theirs)]
    return git.inside("merge-tree", "--write-tree", *sides).split("\n")[0].strip()


def _bare_commit(git: Git, like: str, *words: str) -> str:
    dates = tuple((f"GIT_{role}_DATE", "1000000000 +0000") for role in ("AUTHOR", "COMMITTER"))
    return git.inside("commit-tree", f"{like}^{{tree}}", *words, "-m", "x", extra=(*IDENTITY, *dates)).strip()


def _merged_in_an_index(git: Git, base: str, ours: str, theirs: str) -> str:
    """The same for a git that merges nothing without a work tree: file by file; what was renamed conflicts."""
    with private_to(git) as folder:
        extra = (("GIT_INDEX_FILE", os.path.join(folder, "index")),)
        git.inside("read-tree", "-i", "-m", "--aggressive", base, ours, theirs, extra=extra)
        stages: dict[str, dict[str, tuple[str, str]]] = {}
        for entry in git.inside("ls-files", "--unmerged", "-z", extra=extra).split("\0"):
            about, _tab, path = entry.partition("\t")
            if path:
                mode, blob, stage = about.split(" ")
                stages.setdefault(path, {})[stage] = (mode, blob)
        for path, found in stages.items():
            if set(found) != {"1", "2", "3"} or len({mode for mode, _blob in found.values()}) != 1:
                raise GitFailed(f"{path} cannot be merged")
            sides = [_blob_file(git, folder, stage, found[stage][1]) for stage in ("2", "1", "3")]
            # It ends with the number of conflicts.
            git.run("merge-file", "--quiet", "--", *sides)
            blob = git.inside("hash-object", "-w", "--no-filters", "--", sides[0]).strip()
            git.inside("update-index", "--add", "--cacheinfo", f"{found['2'][0]},{blob},{path}", extra=extra)
        return git.inside("write-tree", extra=extra).strip()


def _blob_file(git: Git, folder: str, name: str, blob: str) -> str:
    """A blob as a file of git's user, byte for byte."""
    index, inside = os.path.join(folder, f"index.{name}"), f"f{name}"
    extra = (("GIT_INDEX_FILE", index),)
    git.inside("read-tree", "--empty", extra=extra)
    git.inside("update-index", "--add", "--cacheinfo", f"100644,{blob},{inside}", extra=extra)
    git.inside("--work-tree", folder, "-c", "core.attributesFile=/dev/null", "checkout-index", "--force", f"--prefix={folder}/",
               "--", inside, extra=extra)  # fmt: skip
    return os.path.join(folder, inside)


def trees(git: Git, base: str, commit: str) -> dict[str, str]:
    """git's names of the contents before and after a hotfix: the same on each host, whatever its commit is called."""
    before, after = (git.inside("rev-parse", f"{c}^{{tree}}").strip() for c in (base, commit))
    return {"before": before, "after": after}
