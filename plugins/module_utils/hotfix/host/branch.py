# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts a branch at what runs, and brings a hotfix into the branches that updates come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...base.errors import BadInput
from ...base.truncate_list import some
from ...git.host import history
from ...git.host.git import Git, GitFailed
from ...operation.host.journal import Fence, working
from ...operation.options import LockOptions
from ...releases import choice
from ...releases.host.plain_folder import is_plain_folder
from ...releases.host.store import Store, store_of
from .. import branches, hotfix
from ..branches import PREFIX
from ..lost_hotfixes import HAS, Applied, applied
from . import commits as hotfix_commits
from . import git_hotfixes, ledger
from .commits import REVERTED_THERE, SOLVED

STARTED, FINISHED = "started", "finished"
_SHOWN = 20


@dataclass(frozen=True)
class Remote:
    """The repository as it was when it was asked.

    :ivar fence: the lock under which it is told something; None where it is only asked what would be.
    :ivar heads: branch → commit; ``tags`` likewise, ``default`` what it calls its branch.
    """

    git: Git
    url: str
    fence: Fence | None
    push: bool
    timeout: float
    heads: Mapping[str, str]
    tags: Mapping[str, str]
    default: str

    def take(self, commit: str, branch: str, before: str) -> None:
        """Make a branch a commit (empty: take it away), where it still is what it was.

        :raises GitFailed: it was not taken.
        """
        if not self.push:
            raise GitFailed("nothing is to be pushed from here")
        if self.fence is None:
            return
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
        with self.fence.act(f"push {branch}"):
            self.git.run("--git-dir", self.git.mirror, *words, timeout=self.timeout)

    def bring_home(self) -> None:
        """Have its commits in the mirror; without a lock only for as long as they are looked at."""
        if self.fence is not None:
            with self.fence.act("fetch"):
                self.git.update(self.url)
            return
        missing = sorted(b for b, commit in self.heads.items() if not history.has(self.git, commit))
        if missing:
            refs = [f"refs/heads/{branch}" for branch in missing]
            self.git.inside("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--", self.url, *refs)

    def commit_of(self, ref: str) -> str:
        """The commit that a branch, a tag or an id of the repository is.

        :raises GitFailed: there is none.
        """
        return self.git.commit_of(self.heads.get(ref) or self.tags.get(ref) or ref)


@dataclass(frozen=True)
class Request:
    """Which branch is started, or which hotfix is brought where.

    :ivar path: ``app_root``, absolute.
    :ivar repo: URL, or a path on this host.
    :ivar state: ``started`` or ``finished``.
    :ivar name: of the hotfix; empty for the next free one, or for the last one in production.
    :ivar pick: commits that are put on the new branch, in this order, each by its id, a branch or a tag.
    :ivar into: branches that are to have the hotfix; empty: those that can be told.
    :ivar how: one of ``branches.HOWS``.
    :ivar delete: take the hotfix's own branch away once all have it.
    :ivar push: push to the repository; otherwise the commands are told.
    :ivar timeout: seconds for each question to the repository.
    :ivar owner: user to whom the app belongs; empty for whoever runs this.
    """

    path: str
    repo: str
    state: str
    lock: LockOptions
    name: str = ""
    pick: tuple[str, ...] = ()
    into: tuple[str, ...] = ()
    how: str = "merge"
    delete: bool = True
    push: bool = True
    timeout: float = 60.0
    owner: str = ""


def change(request: Request, check_mode: bool) -> dict[str, Any]:
    """Start the branch, or bring the hotfix to those that are to have it.

    :raises BadInput: nothing was pushed.
    """
    store, url, name = store_of(request.path, request.owner), request.repo, request.name
    if is_plain_folder(url):
        raise BadInput("app_repo is a plain folder without history, so there are no branches")
    problem = hotfix.problem_with_name(name) if name else ""
    if problem:
        raise BadInput(problem, "set hotfix_name")
    for ref in [*request.pick, *request.into]:
        if choice.problem_with_ref(ref):
            raise BadInput(f"{ref!r} cannot be a commit or a branch", "see git check-ref-format")
    release = store.current()
    if not (release and store.manifest(release).get("revision")):
        raise BadInput(
            f"there is no release in {store.root} that serves",
            "ansible-playbook evenkeel.deploy.update -e update_version=VERSION",
        )
    lock = replace(request.lock, state_dir=store.state_dir(request.lock))
    request = replace(request, lock=lock)
    git = Git(store.layout.mirror, store.owner)
    begun = request.state == STARTED

    def call(asked: Remote) -> dict[str, Any]:
        result = (_started if begun else _finished)(request, asked, store, name)
        return {**result, "next": ["next:", *result["commands"]] if result["commands"] else []}

    try:
        if check_mode:
            with git_hotfixes.private_to(git) as folder:
                return call(_asked(git_hotfixes.TriedGit(git, folder), request, None))
        with working(lock, lock.state_dir, f"hotfix_branch of {store.root}") as fence:
            return fence.reported(call(_asked(git, request, fence)))
    except GitFailed as error:
        raise BadInput(str(error), error.advice) from error


def _asked(git: Git, request: Request, fence: Fence | None) -> Remote:
    heads: dict[str, str] = {}
    tags: dict[str, str] = {}
    default, url, timeout = "", request.repo, request.timeout
    for line in git.run("ls-remote", "--symref", "--", url, timeout=timeout).splitlines():
        about, _tab, ref = line.partition("\t")
        if about.startswith("ref: refs/heads/") and ref == "HEAD":
            default = about[len("ref: refs/heads/") :]
        elif ref.startswith("refs/heads/"):
            heads[ref[len("refs/heads/") :]] = about
        elif ref.startswith("refs/tags/"):
            # What an annotated one is of comes after it.
            tags[ref[len("refs/tags/") :].replace("^{}", "")] = about
    # Asked first: of what is pushed in between the lease knows nothing, and takes it from nobody.
    remote = Remote(git, url, fence, request.push, timeout, heads, tags, default)
    remote.bring_home()
    return remote


def _result(branch: str, revision: str) -> dict[str, Any]:
    return {
        "changed": False,
        "branch": branch,
        "revision": revision,
        "refs": [],
        "notes": [],
        "commands": [],
        "next": [],
    }


def _refusal(what: str, commands: list[str]) -> BadInput:
    return BadInput(what, "\n  ".join(["type this in a clone of the repository:", *commands]))


# -- from the start -----------------------------------------------------------------------------------------------


def _started(request: Request, remote: Remote, store: Store, name: str) -> dict[str, Any]:
    git, manifest = remote.git, store.manifest(store.current())
    base = str(manifest["revision"])
    if not history.has(git, base):
        raise BadInput(
            f"the running revision {base[:12]} is not in the repository", "push it, or update to one that is"
        )
    branch = f"{PREFIX}{name}" if name else _chosen(remote, store, request.lock.state_dir, base)
    there = remote.heads.get(branch, "")
    if there and not hotfix_commits.is_ancestor(git, base, there):
        raise BadInput(
            f"there is a branch {branch} ({there[:12]}), and it does not begin at the running revision {base[:12]}",
            f"set hotfix_name to another one, or, where it has been merged: git push origin --delete {branch}",
        )
    picks = hotfix_commits.left_to_pick(git, base, there or base, [remote.commit_of(ref) for ref in request.pick])
    begin, head = hotfix_commits.known(git, there or base), there or base
    for commit in picks:
        try:
            head = hotfix_commits.picked(git, head, commit)
        except hotfix_commits.Conflict as error:
            by_hand = branches.to_begin(branch, begin, bool(there), picks, conflict=True)
            raise _refusal(f"{branch} was not begun: {error}", [*by_hand, branches.to_apply(branch)]) from error
    result = _result(branch, head)
    result["commands"] = branches.to_work_on(branch)
    pushed = head == there
    if not pushed:
        try:
            remote.take(head, branch, there)
        except GitFailed as error:
            by_hand = branches.to_begin(branch, begin, bool(there), picks if head != (there or base) else [])
            result["notes"].append(f"branch {branch} was not pushed: {error}")
            result["commands"] = [*by_hand, branches.to_apply(branch)]
        else:
            pushed = remote.fence is not None
            result.update(changed=True, refs=[f"branch {branch} at {head[:12]}"])
    at = "is at" if pushed else "would be at"
    result["msg"] = f"{branch} {at} {head[:12]}, which begins at {base[:12]}, the revision that runs"
    return result


def _chosen(remote: Remote, store: Store, state_dir: str, base: str) -> str:
    """A branch that was started before and begins at what runs, or the next free name.

    :raises BadInput: no letter is left.
    """
    git, current = remote.git, store.current()
    nearest = git.inside(
        "for-each-ref", "--merged", base, "--sort=-creatordate", "--format=%(refname:strip=2)", "refs/tags"
    )
    here = sorted((t for t, commit in remote.tags.items() if commit == base), reverse=True)
    stem = branches.stem_of([*here, *nearest.split("\n")], current)
    # Also those whose branch is gone: a second one of that name would be taken for them.
    once = {*ledger.names(state_dir), *(h.name for h in applied(store.manifest(current).get("hotfixes")))}
    for branch in branches.numbered(stem, remote.heads):
        if branch[len(PREFIX) :] not in once and hotfix_commits.is_ancestor(git, base, remote.heads[branch]):
            return branch
    name = branches.next_free(stem, {*remote.heads, *remote.tags, *once})
    if not name:
        raise BadInput(f"every letter after {stem} is taken", "set hotfix_name")
    return f"{PREFIX}{name}"


# -- to the finish ------------------------------------------------------------------------------------------------


def _finished(request: Request, remote: Remote, store: Store, name: str) -> dict[str, Any]:
    git, how = remote.git, request.how
    mine = _of(git, store, request.lock.state_dir, name)
    branch, targets = f"{PREFIX}{mine.name}", _targets(request.into, remote)
    if branch in targets:
        raise BadInput(f"{branch} is the hotfix's own branch", "name the branches that updates come from")
    commits, result = hotfix_commits.own(git, mine), _result(branch, mine.commit)
    left, heads = 0, dict(remote.heads)
    for target in targets:
        before = remote.heads[target]
        standing = hotfix_commits.standing(git, mine, commits, before)
        if standing in (HAS, SOLVED):
            other = ", with other lines: somebody solved a conflict" if standing == SOLVED else ""
            result["notes"].append(f"{target} has it already{other}")
            continue
        conflict, again = False, "cherry_pick" if standing == REVERTED_THERE else how
        try:
            if standing == REVERTED_THERE:
                raise GitFailed("it had it and has taken it back since; bring it again only where that was a mistake")
            after = hotfix_commits.brought(git, mine, commits, before, how)
            remote.take(after, target, before)
        except GitFailed as error:
            left += 1
            conflict = isinstance(error, hotfix_commits.Conflict)
            result["notes"].append(f"{target} did not get it: {error}")
            result["commands"] += branches.to_bring(
                target, mine.name, mine.base, hotfix_commits.known(git, mine.commit), commits, again, conflict
            )
            continue
        heads[target] = after
        result["refs"].append(f"{target} at {after[:12]}")
        result["changed"] = True
    for one in applied(store.manifest(store.current()).get("hotfixes")):
        missing = [t for t in targets if hotfix_commits.standing(git, one, [], heads[t]) not in (HAS, SOLVED)]
        if one != mine and missing:
            result["notes"].append(f"{one.name} is in production as well, and not in {' and '.join(missing)}")
    if left:
        return _left_over(result, mine, branch, remote)
    _take_away(remote, branch, mine, request.delete, result)
    done = "is" if remote.fence is not None or not result["changed"] else "would be"
    result["msg"] = f"the hotfix {mine.name} {done} in {' and '.join(targets)}"
    return result


def _left_over(result: dict[str, Any], mine: Applied, branch: str, remote: Remote) -> dict[str, Any]:
    verb = "pushed" if remote.fence is not None else "would be pushed"
    done = f"{verb}: {', '.join(result['refs'])}" if result["refs"] else "nothing was pushed"
    stays = f", and {branch} stays" if branch in remote.heads else ""
    lines = [
        f"What: the hotfix {mine.name} could not be brought everywhere: {'; '.join(result['notes'])}",
        f"Now: production has it and keeps it; {done}{stays}",
        "Next: type this in a clone of the repository, then run the same command again:",
        *(f"  {line}" for line in result["commands"]),
    ]
    return {**result, "failed": True, "msg": "\n".join(lines)}


def _targets(into: Sequence[str], remote: Remote) -> list[str]:
    """The branches that are to have it.

    :raises BadInput: the repository has one of them not, or nobody can tell.
    """
    targets = branches.targets_of(into, remote.default, remote.heads)
    names = sorted(remote.heads)
    there = some(names, _SHOWN)
    for target in targets:
        if target not in remote.heads:
            raise BadInput(f"there is no branch {target} in the repository", f"there are: {there}")
    if not targets:
        raise BadInput(
            "nobody can tell which branch updates come from", f"set hotfix_into; there are: {there or 'none'}"
        )
    return targets


def _of(git: Git, store: Store, state_dir: str, name: str) -> Applied:
    """The hotfix that is in production; the last one where none is named.

    :raises BadInput: there is none, or it was taken back.
    """
    manifest = store.manifest(store.current())
    there = applied(manifest.get("hotfixes"))
    known = ledger.read(state_dir, name) if name else {}
    # One of variables alone has nothing to merge.
    mine = next((h for h in reversed(there) if (h.name == name if name else h.base != h.commit)), None)
    if mine is None and known.get("commit") and known.get("base"):
        # An update may have brought it since, and then only the ledger knows it.
        mine = Applied(name, str(known["base"]), str(known["commit"]))
    if mine is None or mine.base == mine.commit:
        names = ", ".join(h.name for h in there) or "none"
        if known:
            raise BadInput(f"the hotfix {name} changed no file of the repository, so there is nothing to merge",
                           f"name another; in force: {names}")  # fmt: skip
        raise BadInput(
            f"no hotfix {name + ' ' if name else ''}was ever put on production from here; in force: {names}",
            f"apply it first: {branches.to_apply('hotfix/' + (name or 'NAME'))}",
        )
    if not all(history.has(git, c) for c in (mine.base, mine.commit)):
        raise BadInput(f"the hotfix {mine.name} ({mine.commit[:12]}) is not in the mirror on this host any more")
    if mine not in there and git_hotfixes.verdict_on(git, mine, str(manifest["revision"])) != HAS:
        raise BadInput(
            f"the hotfix {mine.name} is not in what runs: it was rolled back or let go",
            f"apply it again: {branches.to_apply(PREFIX + mine.name)}",
        )
    return mine


def _take_away(remote: Remote, branch: str, mine: Applied, wanted: bool, result: dict[str, Any]) -> None:
    there = remote.heads.get(branch, "")
    if not there or not wanted:
        return
    if not hotfix_commits.is_ancestor(remote.git, there, mine.commit):
        result["notes"].append(f"branch {branch} is at {there[:12]}, and has more than production: it stays")
        return
    try:
        remote.take("", branch, there)
    except GitFailed as error:
        result["notes"].append(f"branch {branch} stays: {error}")
        result["commands"].append(f"git push origin --delete {branch}")
        return
    result["refs"].append(f"branch {branch} is gone")
    result["changed"] = True
