# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hotfix or some files of it taken out of what runs, whatever was put on it since: a hotfix of its own that undoes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...base.errors import BadInput
from ...git.host import history
from ...git.host.git import Git, GitFailed
from .. import revert
from ..lost_hotfixes import Applied, applied
from ..revert import NotBack
from . import environment, git_hotfixes, ledger
from .source import Source
from .view import Serving


def commit_of(
    git: Git, here: Serving, state_dir: str, source: Source, message: str
) -> tuple[Source, str, environment.Change]:
    """The source with its name, the commit on what runs that undoes it, and what undoes its variables.

    The commit is what runs where no file of it is there.

    :raises BadInput: there is none, others were put on the same lines, or files would have to be taken away.
    """
    entries = here.manifest.get("hotfixes")
    chain = {h.name: h for h in applied(entries)}
    for one in chain.values():
        if not (history.has(git, one.base) and history.has(git, one.commit)):
            raise BadInput(
                f"the commits of the hotfix {one.name} are not in the mirror of the repository on this host",
                "ansible-playbook evenkeel.deploy.rollback goes back to the release before",
            )
    touched = {n: [c.path for c in history.changes_between(git, h.base, h.commit)] for n, h in chain.items()}
    variables = environment.Change()
    try:
        parts = revert.due(entries, touched, source.back, source.back_files)
        tree = here.revision
        for part in parts:
            if not part.files:
                variables = environment.undone(here.store, here.release, part.name, ledger.read(state_dir, part.name))
            one = chain[part.name]
            undone = _without(git, one, part.files) if part.files else one.base
            try:
                tree = git_hotfixes.merged(git, one.commit, tree, undone)
            except GitFailed as error:
                raise revert.conflict(part, entries, touched) from error
    except NotBack as error:
        raise BadInput(str(error), error.advice) from error
    names = [part.name for part in parts]
    source = replace(source, name=source.name or revert.name_of(parts), undone=tuple(names))
    text = f"Take back hotfix {', '.join(names)}\n\n{message or 'Taken out of what runs; to be merged.'}"
    commit = git_hotfixes.committed(git, here.revision, tree, text)
    _refuse_removal(git, here, commit, chain[names[-1]])
    return source, commit, variables


def mark(source: Source) -> dict[str, str]:
    """What a release's manifest says of a hotfix that takes others back, wholly or in part; of any other nothing."""
    return {"back_part" if source.back_files else "back": ",".join(source.undone)} if source.undone else {}


def _without(git: Git, one: Applied, files: Sequence[str]) -> str:
    """The tree of a hotfix with some of its files as they were before it."""
    with git_hotfixes.private_to(git) as folder:
        extra = (("GIT_INDEX_FILE", f"{folder}/index"),)
        git.inside("read-tree", one.commit, extra=extra)
        for path in files:
            entry = git.inside("ls-tree", "-z", one.base, "--", f":(literal){path}").split("\0", 1)[0]
            if entry:
                mode, _kind, blob = entry.partition("\t")[0].split(" ")
                git.inside("update-index", "--add", "--cacheinfo", f"{mode},{blob},{path}", extra=extra)
            else:
                git.inside("update-index", "--force-remove", "--", path, extra=extra)
        return git.inside("write-tree", extra=extra).strip()


def _refuse_removal(git: Git, here: Serving, commit: str, first: Applied) -> None:
    changes = history.changes_between(git, here.revision, commit) if commit != here.revision else []
    gone = [c.path for c in changes if c.status == "D"]
    if gone:
        raise BadInput(
            f"the hotfix {first.name} has brought {', '.join(gone)}, and a hotfix can take no file away",
            f"go back to the release before it, and before what was put on it since: ansible-playbook evenkeel.deploy.rollback "
            f"-e rollback_to={first.base[:12]}; or name the other files of it (rollback_files)",
        )
