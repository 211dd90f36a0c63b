# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call of ``hotfix_branch``: a branch that begins at what runs, and its way into the branches that updates come from."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..decide import hotfix, hotfix_branches, releases
from ..decide.hotfix_branches import CHERRY_PICK, MERGE, PREFIX
from ..decide.lost_hotfixes import HAS, Applied, applied
from ..journal import working
from . import git_history, git_hotfixes, hotfix_ledger
from .git import Git, GitFailed
from .git_content import IDENTITY
from .plain_folder import is_plain_folder
from .refusal import BadInput
from .release_call import store_of
from .release_store import Store

STARTED, FINISHED = "started", "finished"


@dataclass(frozen=True)
class _Remote:
    """The repository as it was when it was asked; ``heads``: branch → commit."""

    git: Git
    url: str
    push: bool
    timeout: float
    heads: Mapping[str, str]
    tags: Sequence[str]
    default: str

    def take(self, commit: str, branch: str, before: str) -> None:
        """Make a branch a commit (empty: take it away), where it still is what it was.

        :raises GitFailed: it was not taken.
        """
        if not self.push:
            raise GitFailed("nothing is to be pushed from here")
        ref = f"refs/heads/{branch}"
        words = (
            "push",
            "--quiet",
            "--no-verify",
            f"--force-with-lease={ref}:{before}",
            "--",
            self.url,
            f"{commit}:{ref}",
        )
        self.git.run("--git-dir", self.git.mirror, *words, timeout=self.timeout)


def change(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call of the module.

    :raises BadInput: nothing was pushed.
    """
    store, url, state = store_of(params), str(params["repo"]), str(params["state"])
    if is_plain_folder(url):
        raise BadInput("app_repo is a plain folder without history, so there are no branches")
    name = str(params.get("name") or "")
    problem = hotfix.problem_with_name(name) if name else ""
    if problem:
        raise BadInput(problem, "set hotfix_name")
    for ref in [*(params.get("pick") or []), *(params.get("into") or [])]:
        if releases.problem_with_ref(str(ref)):
            raise BadInput(f"{ref!r} cannot be a commit or a branch", "see git check-ref-format")
    release = store.current()
    base = str(store.manifest(release).get("revision") or "") if release else ""
    if not base:
        raise BadInput(f"there is no release in {store.root} that serves", "update first")
    state_dir = str(params.get("state_dir") or os.path.join(store.root, ".evenkeel"))
    git = Git(os.path.join(store.root, "mirror.git"), store.owner)
    try:
        if check_mode:
            # Commits for it would have to be fetched.
            return {"changed": False, "branch": f"{PREFIX}{name}" if name else "", "revision": "", "refs": [], "notes": [],
                    "commands": [], "msg": "unknown until the repository was fetched"}  # fmt: skip
        with working(params, state_dir, f"hotfix_branch of {store.root}") as fence:
            with fence.act(f"branch of a hotfix {state}"):
                git.update(url)
                remote = _asked(git, url, bool(params["push"]), float(params["timeout"]))
                if state == STARTED:
                    result = _started(params, remote, store, base, name)
                else:
                    result = _finished(params, remote, store, state_dir, name)
            return fence.told(result)
    except GitFailed as error:
        raise BadInput(str(error), error.advice) from error


def _asked(git: Git, url: str, push: bool, timeout: float) -> _Remote:
    heads, tags, default = {}, [], ""
    for line in git.run("ls-remote", "--symref", "--", url, timeout=timeout).splitlines():
        about, _tab, ref = line.partition("\t")
        if about.startswith("ref: refs/heads/") and ref == "HEAD":
            default = about[len("ref: refs/heads/") :]
        elif ref.startswith("refs/heads/"):
            heads[ref[len("refs/heads/") :]] = about
        elif ref.startswith("refs/tags/") and not ref.endswith("^{}"):
            tags.append(ref[len("refs/tags/") :])
    return _Remote(git, url, push, timeout, heads, tags, default)


# -- from the start -----------------------------------------------------------------------------------------------


def _started(params: Mapping[str, Any], remote: _Remote, store: Store, base: str, name: str) -> dict[str, Any]:
    git = remote.git
    if not git_history.has(git, base):
        raise BadInput(
            f"the running revision {base[:12]} is not in the repository", "push it, or update to one that is"
        )
    branch = f"{PREFIX}{name}" if name else _chosen(remote, store, base)
    there = remote.heads.get(branch, "")
    if there and not _is_ancestor(git, base, there):
        raise BadInput(
            f"there is a branch {branch} ({there[:12]}), and it does not begin at the running revision {base[:12]}",
            "set hotfix_name to another one, or delete that branch where it has been merged",
        )
    head = there or base
    for ref in params.get("pick") or []:
        head = _picked(git, head, git.commit_of(str(ref)), str(ref), branch)
    command = f"ansible-playbook evenkeel.deploy.hotfix -e hotfix_ref={branch}"
    result: dict[str, Any] = {
        "changed": False, "branch": branch, "revision": head, "refs": [], "notes": [],
        "commands": [f"git fetch origin; git switch {branch}; change it, commit, git push", command],
    }  # fmt: skip
    if head != there:
        try:
            remote.take(head, branch, there)
        except GitFailed as error:
            picks = f"; git cherry-pick -x {' '.join(map(str, params['pick']))}" if params.get("pick") else ""
            where = f"git switch {branch}" if there else f"git switch -c {branch} {base[:12]}"
            result["notes"].append(f"branch {branch} was not pushed: {error}")
            result["commands"] = [f"git fetch origin; {where}{picks}; git push origin {branch}", command]
        else:
            result.update(changed=True, refs=[f"branch {branch} at {head[:12]}"])
    result["msg"] = (
        f"{branch} {'is at' if result['changed'] or there == head else 'would be at'} {head[:12]}, on {base[:12]} which runs"
    )
    return result


def _chosen(remote: _Remote, store: Store, base: str) -> str:
    """A branch that was started before and begins at what runs, or the next free name.

    :raises BadInput: no letter is left.
    """
    git = remote.git
    tags = git.inside(
        "for-each-ref", "--merged", base, "--sort=-creatordate", "--format=%(refname:short)", "refs/tags"
    ).split()
    here = git.inside("tag", "--points-at", base).split()
    current = store.current()
    stem = hotfix_branches.stem_of([*sorted(here, reverse=True), *tags], current)
    runs = {f"{PREFIX}{h.name}" for h in applied(store.manifest(current).get("hotfixes"))}
    for branch in hotfix_branches.numbered(stem, remote.heads):
        if branch not in runs and _is_ancestor(git, base, remote.heads[branch]):
            return branch
    name = hotfix_branches.next_free(stem, {*remote.heads, *remote.tags})
    if not name:
        raise BadInput(f"every letter after {stem} is taken", "set hotfix_name")
    return f"{PREFIX}{name}"


def _is_ancestor(git: Git, older: str, newer: str) -> bool:
    if not (git_history.has(git, older) and git_history.has(git, newer)):
        return False
    return git.inside("rev-list", "--count", older, f"^{newer}").strip() == "0"


def _picked(git: Git, head: str, commit: str, ref: str, branch: str) -> str:
    """A commit on another; ``head`` itself where that has what it changes.

    :raises BadInput: it is a merge, or conflicts.
    """
    parents = git.inside("rev-list", "--parents", "--max-count=1", commit).split()[1:]
    if len(parents) != 1:
        raise BadInput(
            f"{ref} is a merge or a first commit, of which nobody can say what it changes", "name its commits"
        )
    try:
        tree = git_hotfixes.merged(git, parents[0], head, commit)
    except GitFailed as error:
        raise BadInput(
            f"{ref} ({commit[:12]}) conflicts with what {branch} has ({head[:12]})",
            f"git fetch origin; git switch -c {branch} {head[:12]}; git cherry-pick -x {commit[:12]}; solve it; "
            f"git push origin {branch}",
        ) from error
    if tree == git.inside("rev-parse", f"{head}^{{tree}}").strip():
        return head
    who, mail, when, moment, text = git.inside(
        "show", "--no-patch", "--format=%an%x00%ae%x00%aI%x00%ct%x00%B", commit
    ).split("\0", 4)
    # The same commit again on a second run.
    extra = (*IDENTITY, ("GIT_AUTHOR_NAME", who), ("GIT_AUTHOR_EMAIL", mail), ("GIT_AUTHOR_DATE", when),
             ("GIT_COMMITTER_DATE", f"{moment} +0000"))  # fmt: skip
    message = f"{text.rstrip()}\n\n(cherry picked from commit {commit})"
    return git.inside("commit-tree", tree, "-p", head, "-m", message, extra=extra).strip()


# -- to the finish ------------------------------------------------------------------------------------------------


def _finished(params: Mapping[str, Any], remote: _Remote, store: Store, state_dir: str, name: str) -> dict[str, Any]:
    mine = _of(store, state_dir, name)
    git, how, branch = remote.git, str(params["how"]), f"{PREFIX}{mine.name}"
    if not all(git_history.has(git, c) for c in (mine.base, mine.commit)):
        raise BadInput(f"the hotfix {mine.name} ({mine.commit[:12]}) is not in the mirror on this host any more")
    targets = [str(t) for t in params.get("into") or []] or [
        b for b in (remote.default, "develop") if b in remote.heads
    ]
    targets = list(dict.fromkeys(targets))
    for target in targets:
        if target not in remote.heads:
            raise BadInput(
                f"there is no branch {target} in the repository", f"there are: {', '.join(sorted(remote.heads))}"
            )
    if not targets:
        raise BadInput("nobody can tell which branch updates come from", "set hotfix_into")
    commits = git.inside("rev-list", "--reverse", "--no-merges", mine.commit, f"^{mine.base}").split()
    result: dict[str, Any] = {
        "changed": False, "branch": branch, "revision": mine.commit, "refs": [], "notes": [], "commands": [],
    }  # fmt: skip
    for target in targets:
        before = remote.heads[target]
        if git_hotfixes.verdict_on(git, mine, before) == HAS:
            result["notes"].append(f"{target} has it already")
            continue
        try:
            after = _brought(git, mine, before, target, commits, how)
            if git_hotfixes.verdict_on(git, mine, after) != HAS:
                raise GitFailed("it would not have all of it")
            remote.take(after, target, before)
        except (GitFailed, BadInput) as error:
            result["notes"].append(f"{target} did not get it: {error}")
            result["commands"].append(hotfix_branches.by_hand(target, branch, commits, how))
            continue
        result["refs"].append(f"{target} at {after[:12]}")
        result["changed"] = True
    if not result["commands"]:
        _take_away(remote, branch, mine, bool(params["delete"]), result)
        result["msg"] = f"the hotfix {mine.name} is in {' and '.join(targets)}"
        return result
    done = f"; {', '.join(result['refs'])}" if result["refs"] else ""
    lines = [f"What: the hotfix {mine.name} could not be brought everywhere: {'; '.join(result['notes'])}"]
    lines.append(f"Now: production has it and keeps it{done}; nothing else was pushed, and {branch} stays")
    words = "; then run the same command again, which takes the branch away"
    result.update(failed=True, msg="\n".join([*lines, f"Next: {' && '.join(result['commands'])}{words}"]))
    return result


def _of(store: Store, state_dir: str, name: str) -> Applied:
    """The hotfix that is in production; the last one where none is named.

    :raises BadInput: there is none.
    """
    there = applied(store.manifest(store.current()).get("hotfixes"))
    if not name and there:
        return there[-1]
    for one in there:
        if one.name == name:
            return one
    # An update may have brought it since, and then only the ledger knows it.
    known = hotfix_ledger.read(state_dir, name) if name else {}
    if known.get("commit") and known.get("base"):
        return Applied(name, str(known["base"]), str(known["commit"]))
    names = ", ".join(h.name for h in there) or "none"
    raise BadInput(
        f"no hotfix {name} was ever put on production from here; in force: {names}", "apply it first: hotfix_ref"
    )


def _brought(git: Git, mine: Applied, before: str, target: str, commits: Sequence[str], how: str) -> str:
    if how == CHERRY_PICK:
        head = before
        for commit in commits:
            head = _picked(git, head, commit, commit[:12], target)
        return head
    common = git.inside("merge-base", before, mine.commit).strip()
    tree = git_hotfixes.merged(git, common, before, mine.commit)
    moment = git.inside("show", "--no-patch", "--format=%ct", mine.commit).strip()
    dates = tuple((f"GIT_{role}_DATE", f"{moment} +0000") for role in ("AUTHOR", "COMMITTER"))
    message = f"Merge hotfix {mine.name}"
    words = ("commit-tree", tree, "-p", before, "-p", mine.commit, "-m", message)
    return git.inside(*words, extra=(*IDENTITY, *dates)).strip()


def _take_away(remote: _Remote, branch: str, mine: Applied, wanted: bool, result: dict[str, Any]) -> None:
    there = remote.heads.get(branch, "")
    if not there or not wanted:
        return
    if there != mine.commit:
        result["notes"].append(f"branch {branch} is at {there[:12]}, and has more than production: it stays")
        return
    try:
        remote.take("", branch, there)
    except GitFailed as error:
        result["notes"].append(f"branch {branch} stays: {error}; by hand: git push origin --delete {branch}")
        return
    result["refs"].append(f"branch {branch} is gone")
    result["changed"] = True


HOWS = (MERGE, CHERRY_PICK)
