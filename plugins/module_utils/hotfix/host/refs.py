# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells the repository of releases. It is told late and may not answer: nothing fails by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...base.errors import BadInput
from ...git.host import content, history
from ...git.host.git import Git, GitFailed
from ...operation.host.journal import working
from ...operation.options import LockOptions
from ...releases import choice
from ...releases.host.plain_folder import is_plain_folder
from ...releases.host.store import Store, store_of
from . import ledger

# Where the mirror keeps what it made itself: a fetch takes away branches that the repository has not.
_OURS = "refs/evenkeel/revert/"
# Stands for the release's id, so that one setting names each.
_PLACE = "{release}"


class _Remote:
    """The repository that the mirror is one of, asked and told within bounds.

    :param timeout: seconds for each question.
    """

    def __init__(self, git: Git, url: str, push: bool, timeout: float) -> None:
        self.git, self.url, self._push, self._timeout = git, url, push, timeout

    def has(self, ref: str) -> str:
        """The commit that a ref points to there, empty when there is none.

        :raises GitFailed: it did not answer.
        """
        found = {}
        for line in self.git.run("ls-remote", "--", self.url, ref, f"{ref}^{{}}", timeout=self._timeout).splitlines():
            commit, _tab, name = line.partition("\t")
            found[name] = commit
        return found.get(f"{ref}^{{}}", found.get(ref, ""))

    def take(self, what: str, ref: str) -> None:
        """Push one object under a name that nothing has there.

        :raises GitFailed: it was not taken, or nothing is to be pushed.
        """
        if not self._push:
            raise GitFailed("nothing is to be pushed from here")
        lease = f"--force-with-lease={ref}:"
        words = ("push", "--quiet", "--no-verify", lease, "--", self.url, f"{what}:{ref}")
        self.git.run("--git-dir", self.git.mirror, *words, timeout=self._timeout)


@dataclass(frozen=True)
class Request:
    """What the repository is told, and of which release.

    :ivar path: ``app_root``, absolute.
    :ivar repo: URL, or a path on this host.
    :ivar release: the id of the current one.
    :ivar state: ``named`` makes a tag at it and a branch at the one before, ``reverted`` branches that take back what was rolled back,
        ``hotfixed`` a branch at the hotfix that it is.
    :ivar tag: with ``{release}`` for the id, as in ``branch``; nothing is made where it is empty.
    :ivar before: the id of the release that ``branch`` is made at.
    :ivar push: push to the repository; otherwise the commands are told.
    :ivar timeout: seconds for each question to the repository.
    :ivar owner: user to whom the app belongs; empty for whoever runs this.
    """

    path: str
    repo: str
    release: str
    lock: LockOptions
    state: str = "named"
    tag: str = ""
    branch: str = ""
    before: str = ""
    push: bool = True
    timeout: float = 10.0
    owner: str = ""


def tell_repository(request: Request, check_mode: bool) -> dict[str, Any]:
    """Push what it is to be told; what it does not take is told as commands.

    :raises BadInput: nothing was touched.
    """
    store, url = store_of(request.path, request.owner), request.repo
    tag, branch = (name.replace(_PLACE, request.release) for name in (request.tag, request.branch))
    for name in (tag, branch):
        if name and choice.problem_with_ref(name):
            raise BadInput(
                f"{name!r} cannot be the name of a tag or a branch", "see git check-ref-format, and name another"
            )
    result: dict[str, Any] = {"changed": False, "refs": [], "notes": [], "msg": ""}
    if check_mode or is_plain_folder(url):
        return result
    known = {r.id: r for r in store.all()}
    if request.release not in known:
        raise BadInput(f"there is no release {request.release} in {store.folder}", f"there are: {', '.join(known)}")
    git = Git(store.layout.mirror, store.owner)
    remote = _Remote(git, url, request.push, request.timeout)
    state_dir = store.state_dir(request.lock)
    with working(request.lock, state_dir, f"release_refs of {store.root}") as fence:
        with fence.act("tell the repository"):
            release = known[request.release]
            if request.state == "reverted":
                for left in known.values():
                    if left.state == choice.BAD and left.left_for == release.revision:
                        _revert(store, remote, left, result)
            elif request.state == "hotfixed":
                _hotfixed(store, remote, release, state_dir, result)
            else:
                before = known.get(request.before)
                _name(remote, release, before, tag, branch, result)
        result["msg"] = f"pushed: {', '.join(result['refs'])}" if result["refs"] else "nothing was pushed"
        return fence.reported(result)


def _revert(store: Store, remote: _Remote, left: choice.Release, result: dict[str, Any]) -> None:
    """A branch that takes back what a release brought, made once and pushed until it is taken."""
    short, git = left.revision[:10], remote.git
    branch, ours = f"revert/{short}", f"{_OURS}{short}"
    if store.manifest(left.id).get("reverted_by") == branch:
        return
    commands: list[str] = []
    try:
        brought = history.history(git, "--first-parent", left.revision, f"^{left.left_for}")
        if not brought:
            # Older than what serves now: there is nothing to take back.
            return
        commands = history.commands_to_revert(brought, branch, left.revision)
        if not git.inside("for-each-ref", "--format=%(objectname)", ours).strip():
            git.inside("update-ref", ours, history.revert(git, left.left_for, left.revision))
        remote.take(ours, f"refs/heads/{branch}")
    except GitFailed as error:
        missing = f"no branch that reverts {short} was pushed: {error}"
        result["notes"].append(missing + (f"; by hand: {'; '.join(commands)}" if commands else ""))
        return
    store.note(left.id, reverted_by=branch)
    result["refs"].append(f"branch {branch}, which takes back what {short} brought")
    result["changed"] = True


def _hotfixed(store: Store, remote: _Remote, release: choice.Release, state_dir: str, result: dict[str, Any]) -> None:
    """A branch at a hotfix, made once: who merges it keeps it."""
    about = store.manifest(release.id).get("hotfix") or {}
    name, commit = str(about.get("name") or ""), str(about.get("commit") or "")
    branch = f"hotfix/{name}"
    if not name or about.get("pushed") == branch:
        return
    try:
        there = remote.has(f"refs/heads/{branch}")
        if there != commit:
            if there:
                raise GitFailed(f"the repository has it at {there[:10]}")
            remote.take(commit, f"refs/heads/{branch}")
            result["refs"].append(f"branch {branch} at {commit[:10]}, to be merged")
    except GitFailed as error:
        patch = ledger.path_of(state_dir, name, "patch")
        words = (
            f"git switch -c {branch} {str(about.get('base'))[:10]}; git apply --index {name}.patch (it is {patch} on the "
            f"server); git commit -m 'Hotfix {name}'; git push origin {branch}"
        )
        result["notes"].append(f"branch {branch} was not pushed: {error}; by hand: {words}")
        return
    store.note(release.id, hotfix={**about, "pushed": branch})
    result["changed"] = True


def _name(
    remote: _Remote,
    release: choice.Release,
    before: choice.Release | None,
    tag: str,
    branch: str,
    result: dict[str, Any],
) -> None:
    """A tag at what serves, and a branch at what served before."""
    wanted = [("tag", tag, release)] if tag else []
    if branch and before is not None and before.id != release.id:
        wanted.append(("branch", branch, before))
    for kind, name, at in wanted:
        ref = f"refs/{'tags' if kind == 'tag' else 'heads'}/{name}"
        about = f"{kind} {name} at {at.revision[:10]}"
        try:
            there = remote.has(ref)
            if there == at.revision:
                continue
            if there:
                result["notes"].append(f"{about} was not made: the repository has it at {there[:10]}")
                continue
            remote.take(_tagged(remote.git, name, at) if kind == "tag" else at.revision, ref)
        except GitFailed as error:
            words = (
                f"git tag -a -m {at.id} {name} {at.revision[:10]}"
                if kind == "tag"
                else f"git branch {name} {at.revision[:10]}"
            )
            result["notes"].append(f"{about} was not pushed: {error}; by hand: {words}; git push origin {name}")
            continue
        result["refs"].append(about)
        result["changed"] = True


def _tagged(git: Git, name: str, release: choice.Release) -> str:
    """An annotated tag in the mirror; one that the repository never took is in nobody's way."""
    git.inside("tag", "--force", "--no-sign", "--annotate", "-m", f"Release {release.id}", name, release.revision,
               extra=content.IDENTITY)  # fmt: skip
    return f"refs/tags/{name}"
