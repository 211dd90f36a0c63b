# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a hotfix is given as (files, a patch, a branch), and the commit on the running revision that it becomes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...base.errors import BadInput
from ...base.options import read
from ...git.changes import Change
from ...git.host import content as git_content
from ...git.host import history
from ...git.host.git import Git, GitFailed
from ...releases.choice import problem_with_ref
from .. import hotfix
from . import git_hotfixes
from .given_files import GivenFiles, content_of, decoded

#: The arguments of modules that bring a change of the repository (fragment ``hotfix.source``), beside its files.
SOURCE_SPEC: dict[str, Any] = {
    "repo": {"type": "str", "required": True},
    "patch_src": {"type": "path"},
    "patch": {"type": "str", "no_log": True},
    "ref": {"type": "str"},
    "reason": {"type": "str"},
    "compose_files": {"type": "list", "elements": "str", "required": True},
    "env_files": {"type": "list", "elements": "str", "default": []},
    "shared": {"type": "list", "elements": "str", "default": []},
    "manage_py": {"type": "str", "default": "manage.py"},
    "max_files": {"type": "int", "default": 20},
    "max_lines": {"type": "int", "default": 400},
    "force": {"type": "bool", "default": False},
    "timeout": {"type": "str", "default": "5m"},
    "owner": {"type": "str"},
}
_SHOWN = 15


@dataclass(frozen=True)
class SourceOptions:
    """The repository of an app, what of it a hotfix changes if it comes as no files, and the limits of a hotfix.

    :ivar repo: URL, or a path on this host.
    :ivar compose_files: paths in the repository, as are ``env_files`` and ``shared``; the first of ``env_files`` is the app's own.
    :ivar patch: in base64, which the controller has read from ``patch_src``.
    :ivar ref: branch or tag.
    :ivar reason: goes into the commit's message.
    :ivar force: whether it is a hotfix all the same where it is larger than ``max_files`` and ``max_lines`` allow.
    :ivar timeout: seconds for each container that Django is asked in.
    :ivar owner: user to whom the app belongs; empty for whoever runs this.
    """

    repo: str
    compose_files: tuple[str, ...] = ()
    patch_src: str = ""
    patch: str = ""
    ref: str = ""
    reason: str = ""
    env_files: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    manage_py: str = "manage.py"
    max_files: int = 20
    max_lines: int = 400
    force: bool = False
    timeout: float = 300.0
    owner: str = ""


def source_options(params: Mapping[str, Any]) -> SourceOptions:
    """What a module was given of that."""
    return read(SourceOptions, SOURCE_SPEC, params)


@dataclass(frozen=True)
class Source:
    """One of ``files`` (path → content), ``patch`` and ``ref``; ``name`` is what the hotfix is called.

    ``environment`` names variables where there is none of these. ``by_hand`` says that the files are what somebody edited in
    containers, and ``captured`` which edits those are, as they are told. ``back`` names a hotfix, ``back_files`` files that are taken
    back, and ``undone`` the hotfixes that these are of.
    """

    name: str
    files: Mapping[str, bytes] = field(default_factory=dict)
    patch: str = ""
    ref: str = ""
    environment: tuple[str, ...] = ()
    by_hand: bool = False
    captured: tuple[str, ...] = ()
    back: str = ""
    back_files: tuple[str, ...] = ()
    undone: tuple[str, ...] = ()

    @property
    def is_back(self) -> bool:
        """Whether it takes others back."""
        return bool(self.back or self.back_files)

    @property
    def text(self) -> str:
        """As people name it."""
        if self.ref or self.environment:
            return self.ref or ", ".join(self.environment)
        if self.is_back:
            return f"the way back from {', '.join(self.undone or self.back_files)}"
        if self.by_hand:
            return f"what was edited by hand ({', '.join(sorted(self.files)) or 'nothing'})"
        return "the patch" if self.patch else ", ".join(sorted(self.files))


def source_of(
    options: SourceOptions,
    brought: GivenFiles,
    name: str = "",
    capture: bool = False,
    revert: str = "",
    revert_files: Sequence[str] = (),
    env: Sequence[Mapping[str, Any]] = (),
) -> Source:
    """What a hotfix was given as.

    :param name: what it is to be called; made of what it is where it is empty.
    :param capture: whether it is what was edited by hand in containers.
    :param revert: the hotfix that is taken back; ``revert_files`` are the files.
    :param env: the variables, each with its ``name``.
    :raises BadInput: nothing or too much, or what cannot be.
    """
    every = {"files": brought.files, "patch": options.patch, "ref": options.ref, "capture": capture}
    given = [key for key, value in every.items() if value]
    given += ["revert"] if revert or revert_files else []
    environment = sorted(str(e["name"]) for e in env)
    if len(given) > 1 or not (given or environment):
        raise BadInput(
            f"a hotfix is given as files, as a patch, as a ref or by hand, and {' and '.join(given) or 'none of these'} was",
            "set one of hotfix_files, hotfix_patch, hotfix_ref and hotfix_capture, or hotfix_env",
        )
    if not given:
        name = name or f"env-{hashlib.sha256(' '.join(environment).encode()).hexdigest()[:8]}"
        _refuse(hotfix.problem_with_name(name), "set hotfix_name")
        return Source(name, environment=tuple(environment))
    if capture:
        # What it is only the containers know.
        return Source(name, by_hand=True)
    if "revert" in given:
        for problem in (
            hotfix.problem_with_name(revert) if revert else "",
            *map(hotfix.problem_with_path, revert_files),
        ):
            _refuse(problem, "name a hotfix that is in production, and files by their paths in the repository")
        _refuse(hotfix.problem_with_name(name) if name else "", "set hotfix_name")
        return Source(name, back=revert, back_files=tuple(dict.fromkeys(revert_files)))
    files: dict[str, bytes] = {}
    patch, ref = "", options.ref
    if ref:
        _refuse(problem_with_ref(ref), "set hotfix_ref to a branch or tag that was pushed")
        name = name or re.sub(r"^(?:refs/heads/|refs/tags/)?(?:hotfix/)?", "", ref).replace("/", "-")
    elif options.patch:
        patch = decoded("the patch", options.patch).decode("utf-8", "surrogateescape")
        _refuse(hotfix.problem_with_patch(patch), "make it with git diff, without --binary and --find-renames")
        name = name or f"fix-{hashlib.sha256(patch.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"
    else:
        total, named = hashlib.sha256(), [str(entry["path"]) for entry in brought.files]
        for entry in sorted(brought.files, key=lambda e: str(e["path"])):
            path = str(entry["path"])
            _refuse(hotfix.problem_with_path(path, options.shared), "name the file by its path in the repository")
            if path in files:
                raise BadInput(f"{path} is named twice", "name it once")
            files[path] = content_of(entry)
            _refuse(hotfix.problem_with_content(path, None, files[path].replace(b"\r\n", b"\n"), named))
            total.update(path.encode() + b"\0" + hashlib.sha256(files[path]).digest())
        name = name or f"fix-{total.hexdigest()[:8]}"
    _refuse(hotfix.problem_with_name(name), "set hotfix_name")
    return Source(name, files, patch, ref)


def _refuse(problem: str, advice: str = "") -> None:
    if problem:
        raise BadInput(problem, advice)


def commit_of(git: Git, url: str, base: str, source: Source, message: str, fetch: bool) -> str:
    """The commit that the hotfix is; ``base`` where that has all of it already.

    :param base: the running revision.
    :param fetch: whether the mirror may be brought up to date; otherwise only what is asked for is read.
    :raises BadInput: it does not apply, or does not begin at the running revision.
    """
    if not history.has(git, base):
        raise BadInput(
            f"the running revision {base[:12]} is not in the mirror of the repository on this host",
            "update to a revision that is in the repository first",
        )
    try:
        if source.ref:
            return _begun_at(git, base, _fetched(git, url, source.ref, fetch), source.ref)
        text = f"Hotfix {source.name}\n\n{message or 'Put on what runs; to be merged.'}"
        if source.environment or (source.by_hand and not source.files):
            return base
        if source.files:
            return git_hotfixes.commit_files(git, base, source.files, text)
        return git_hotfixes.commit_patch(git, base, source.patch, text)
    except GitFailed as error:
        raise BadInput(str(error), error.advice) from error


def _fetched(git: Git, url: str, ref: str, fetch: bool) -> str:
    if fetch:
        git.update(url)
        return git.commit_of(ref)
    commit = git.planned_commit(url, ref)
    if not history.has(git, commit):
        git.inside("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--", url, commit)
    return commit


def _begun_at(git: Git, base: str, commit: str, ref: str) -> str:
    """The commit of a ref whose base is the running revision.

    :raises BadInput: others would come along, and which.
    """
    common = git.inside("merge-base", base, commit).strip()
    if common in (base, commit):
        # Either it begins there, or it is what runs, or a part of that.
        return commit if common == base else base
    along = history.history(git, commit, f"^{base}")
    missing = history.history(git, base, f"^{commit}")
    raise BadInput(
        f"{ref} does not begin at the running revision {base[:12]}, so more than the hotfix would come along "
        f"({_named(along)}) and what runs would lose {_named(missing)}",
        f"git switch -c hotfix/NAME {base[:12]}; git cherry-pick the fix; git push; or update to {ref} as a whole: "
        f"ansible-playbook evenkeel.deploy.update -e update_version={ref}",
    )


def _named(commits: Sequence[Any]) -> str:
    some = ", ".join(c.named() for c in commits[-_SHOWN:])
    return (some + (f" and {len(commits) - _SHOWN} more" if len(commits) > _SHOWN else "")) or "nothing"


def looked_at(git: Git, base: str, commit: str, source: Source, shared: Sequence[str]) -> list[Change]:
    """What the commit changes.

    :raises BadInput: a path or a content that is refused whatever it is.
    """
    changes = history.changes_between(git, base, commit)
    paths = {c.path for c in changes}
    for change in changes:
        _refuse(hotfix.problem_with_path(change.path, shared))
        if change.mode in ("100644", "100755"):
            old = git_content.content_of(git, base, change.path)
            new = source.files.get(change.path) or git_content.content_of(git, commit, change.path) or b""
            size = None if change.path in source.files else git_hotfixes.size_of(git, commit, change.path)
            _refuse(
                hotfix.problem_with_content(change.path, old, new, paths, size=size),
                "write it with the ends of lines that it had",
            )
    return changes
