# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""git, as the owner of the app's folder, on a bare mirror; it never prompts."""

from __future__ import annotations

import os
import pwd
import re
import stat
import subprocess
import tempfile
from collections.abc import Sequence

from ...base.errors import BadInput
from ...base.host import known_secrets
from ...base.host.directory_handles import give_away, open_folder
from ...base.host.processes import processes
from ...base.masking import without_credentials
from .. import address

#: Before every command: a repository's own configuration shall not name programs for git to run.  What else it may name
#: (filters, helpers) is the mirror's owner's, see :meth:`Git.refuse_foreign`; GIT_SSH_COMMAND goes before core.sshCommand.
_SAFE = ("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "protocol.ext.allow=never")
#: What of a mirror leads git to programs, or to other repositories.
_PARTS = ("config", "hooks", "objects", "refs")
_PROMPTS = (
    "terminal prompts disabled",
    "could not read Username",
    "could not read Password",
    "Host key verification",
    "Permission denied (",
)


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


class GitFailed(Exception):
    """git refused or failed; ``advice`` is what to do about it."""

    def __init__(self, what: str, advice: str = "") -> None:
        super().__init__(what)
        self.advice = advice


class NothingFound(GitFailed):
    """git ended with 1 and said nothing, as where a search has no hit or a name is that of nothing."""


class ForeignMirror(BadInput):
    """Others than git's own user may write to the mirror.  Not a failure of git's, which some who ask it pass over."""


class Git:
    """A bare mirror of the app's repository.

    :param mirror: its path.
    :param owner: the user git runs as, empty for the present one.
    """

    def __init__(self, mirror: str, owner: str = "") -> None:
        self.mirror = mirror
        self.owner = owner
        self._user = pwd.getpwnam(owner) if owner else pwd.getpwuid(os.geteuid())
        self._version: tuple[int, ...] | None = None

    def run(self, *words: str, timeout: float = 600.0, extra: Sequence[tuple[str, str]] = ()) -> str:
        """Run a git command and return what it printed.

        :raises GitFailed: non-zero exit, a prompt that nobody could answer, or no end in ``timeout`` seconds.
        :raises ForeignMirror: others may change the mirror.
        """
        if self.mirror in words:
            self.refuse_foreign()
        try:
            given = address.apart(words)
        except address.BadAddress as error:
            raise GitFailed(str(error), "leave it out, and use a deploy key: see the README of role app") from error
        known_secrets.learn_variables((f"{name}_SECRET", value) for name, value in given.variables.items())
        environment = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": self._user.pw_dir, "LC_ALL": "C.UTF-8",
            "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "/bin/false", "SSH_ASKPASS": "/bin/false",
            "GIT_SSH_COMMAND": os.environ.get("GIT_SSH_COMMAND", "ssh -o BatchMode=yes"), **given.variables, **dict(extra),
        }  # fmt: skip
        for name in ("SSH_AUTH_SOCK", "SSL_CERT_FILE", "http_proxy", "https_proxy", "no_proxy"):
            if name in os.environ:
                environment[name] = os.environ[name]
        other = os.geteuid() == 0 and self._user.pw_uid != 0
        try:
            done = subprocess.run(
                ["git", *_SAFE, *given.options, *given.words], stdin=subprocess.DEVNULL, capture_output=True,
                encoding="utf-8", errors="replace", check=False, timeout=timeout, env=environment, cwd="/", umask=0o022,
                user=self._user.pw_uid if other else None, group=self._user.pw_gid if other else None,
                extra_groups=os.getgrouplist(self._user.pw_name, self._user.pw_gid) if other else None,
            )  # fmt: skip
        except FileNotFoundError as error:
            raise GitFailed("git is missing on this host", "install the package git") from error
        except subprocess.TimeoutExpired as error:
            raise GitFailed(f"git {words[0]} did not end in {timeout:g} s") from error
        if done.returncode == 1 and not done.stderr:
            raise NothingFound(f"git failed as user {self._user.pw_name}: no reason given")
        if done.returncode != 0:
            raise self._failure(done.stderr)
        return done.stdout

    def _failure(self, stderr: str) -> GitFailed:
        lines = [line.strip() for line in stderr.splitlines() if line.strip()] or ["no reason given"]
        fatal = [line for line in lines if line.startswith("fatal:")] or [ln for ln in lines if ln.startswith("error:")]
        said = fatal[0] if fatal else lines[-1]
        if "Could not read from remote repository" in said:
            # That is only what git makes of it; ssh has said why.
            said = lines[0]
        rejected = [line for line in lines if line.startswith("! [")]
        if rejected:
            # What a hook or a host of repositories says of it; "failed to push some refs" is git's own end of it.
            why = [line[len("remote:") :].strip() for line in lines if line.startswith("remote:")]
            text = " ".join(" ".join([*rejected[:1], *[w for w in why if re.search(r"\w", w)][:3]]).split())
            # It comes from elsewhere, and goes to somebody's terminal.
            said = "".join(c for c in text if c.isprintable())
        said = without_credentials(said)
        who = self._user.pw_name
        if any(p in stderr for p in _PROMPTS):
            return GitFailed(
                f"git would have asked for a password or a host key as user {who}: {said}",
                f"give {who} a deploy key (ssh-keygen; add the public half to the repository) and try git ls-remote as {who}",
            )
        if "dubious ownership" in stderr:
            return GitFailed(f"the repository does not belong to user {who}: {said}", "set app_owner to its owner")
        return GitFailed(f"git failed as user {who}: {said}")

    def version(self) -> tuple[int, ...]:
        """Major and minor version of the git on this host, ``(0, 0)`` where it cannot be read."""
        if self._version is None:
            found = re.search(r"(\d+)\.(\d+)", self.run("version"))
            self._version = tuple(int(n) for n in found.groups()) if found else (0, 0)
        return self._version

    def inside(self, *words: str, extra: Sequence[tuple[str, str]] = ()) -> str:
        """Run a git command on the mirror."""
        return self.run("--git-dir", self.mirror, *words, extra=extra)

    @property
    def ids(self) -> tuple[int, int]:
        """User and group that git runs as."""
        return self._user.pw_uid, self._user.pw_gid

    def give(self, folder: str) -> None:
        """Let git write into a folder that is ours so far."""
        if os.geteuid() == 0 and self._user.pw_uid != 0:
            with open_folder(folder) as handle:
                give_away(handle, (self._user.pw_uid, self._user.pw_gid))

    def refuse_foreign(self) -> None:
        """Look whether only git's own user and root can write to the mirror: its configuration names programs that git runs.

        git looks for that itself only where it has to find the repository.

        :raises ForeignMirror: another user's, or writable for others.
        """
        who = self._user.pw_name
        for path in (self.mirror, *(os.path.join(self.mirror, name) for name in _PARTS)):
            try:
                found = [os.lstat(path), os.stat(path)]
            except FileNotFoundError:
                continue
            strangers = sorted({s.st_uid for s in found} - {0, self._user.pw_uid})
            if strangers:
                other = _name_of(strangers[0])
                raise ForeignMirror(
                    f"{path} belongs to user {other}, and git would run what that one says as {who}",
                    f"set app_owner to {other} where {other} deploys the app; else see whether its config and hooks are as you "
                    f"know them, then: chown -R {who} {self.mirror}",
                )
            if stat.S_IMODE(found[1].st_mode) & 0o022:
                raise ForeignMirror(
                    f"others than {who} may write to {path}, and git would run what they say as {who}",
                    f"see whether its config is as you know it, then: chmod -R go-w {self.mirror}",
                )

    def update(self, url: str) -> None:
        """Make the mirror what the repository is now, making it first where there is none."""
        self.refuse_foreign()
        if not os.path.isdir(os.path.join(self.mirror, "objects")):
            self.run("init", "--quiet", "--bare", self.mirror)
        try:
            self._fetch(url)
        except GitFailed as error:
            if not (".lock'" in str(error) and self._remove_stale_locks()):
                raise
            self._fetch(url)

    def _fetch(self, url: str) -> None:
        # Housekeeping stays in the foreground: in the background it would hold locks that the next run meets.
        quiet = ["-c", "gc.autoDetach=false", "-c", "maintenance.autoDetach=false"]
        refs = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]
        self.inside(*quiet, "fetch", "--quiet", "--prune", "--no-write-fetch-head", "--", url, *refs)

    def _remove_stale_locks(self) -> bool:
        """Remove lock files of the mirror if their git does not live any more; it was killed, or the machine was."""
        if any(os.path.basename(p.command.split(" ")[0]) == "git" and self.mirror in p.command for p in processes()):
            return False
        for folder, _folders, names in os.walk(self.mirror):
            for name in names:
                if name.endswith(".lock"):
                    os.unlink(os.path.join(folder, name))
        return True

    def commit_of(self, ref: str) -> str:
        """The full commit id of a branch, tag or commit of the mirror.

        :raises GitFailed: there is none.
        """
        try:
            return self.inside("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}").strip()
        except GitFailed as error:
            raise self._no_such(ref) from error

    @staticmethod
    def _no_such(ref: str) -> GitFailed:
        return GitFailed(f"the repository has no branch, tag or commit {ref}", "push it first, or name another")

    def planned_commit(self, url: str, ref: str) -> str:
        """The commit id of a ref in the repository itself, without fetching.

        A commit that the mirror does not have yet is returned as it was asked for.

        :raises GitFailed: there is no such branch or tag.
        """
        found = {}
        for line in self.run("ls-remote", "--", url, ref, f"{ref}^{{}}").splitlines():
            commit, _tab, name = line.partition("\t")
            found[name] = commit
        for name in (f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}", f"refs/heads/{ref}", ref):
            if name in found:
                return found[name]
        if not re.fullmatch("[0-9a-f]{4,40}", ref):
            raise self._no_such(ref)
        try:
            return self.commit_of(ref)
        except GitFailed:
            return ref

    def mentions(self, commit: str, words: Sequence[str]) -> list[str]:
        """The text files of a commit that have one of these words, as they are written.

        :raises GitFailed: git failed; that no file has one is no failure.
        """
        patterns = [part for word in words for part in ("-e", word)]
        try:
            found = self.inside("grep", "--files-with-matches", "--fixed-strings", "-I", "-z", *patterns, commit, "--")
        except NothingFound:
            return []
        return [entry.partition(":")[2] for entry in found.split("\0") if entry]

    def size_of(self, commit: str) -> tuple[int, int]:
        """Bytes and files of a commit's tree."""
        entries = [e.split("\t")[0].split() for e in self.inside("ls-tree", "-r", "-l", "-z", commit).split("\0") if e]
        return sum(int(e[3]) for e in entries if e[3].isdecimal()), len(entries)

    def objections(self, commit: str) -> list[str]:
        """What of a commit's tree a folder of plain files could not be: submodules, large files kept elsewhere."""
        found = []
        for entry in self.inside("ls-tree", "-r", "-z", "--full-tree", commit).split("\0"):
            about, _tab, path = entry.partition("\t")
            mode, _kind, blob = about.split() if about else ("", "", "")
            if mode == "160000":
                found.append(f"{path} is a submodule, whose files are not in this repository")
            if path.startswith(".evenkeel"):
                found.append(f"{path} has a name that this collection keeps for its own record of a release")
            if os.path.basename(path) == ".gitattributes" and self._uses_lfs(blob):
                found.append(f"{path} keeps files in Git LFS, which would be pointers only")
        return found

    def _uses_lfs(self, blob: str) -> bool:
        lines = self.inside("cat-file", "blob", blob).splitlines()
        return any("filter=lfs" in line.split()[1:] for line in lines if not line.startswith("#"))

    def edits(self, commit: str, folder: str) -> tuple[dict[str, tuple[str, str]], list[str]]:
        """What differs in a folder that a commit was exported to, and what is there besides; nothing of it is touched.

        Attributes that change content on its way out, such as ends of lines, are honoured.

        :returns: path → (git's letter for the kind, the blob of the commit), and the paths that the commit has not.
        """
        with tempfile.TemporaryDirectory(prefix="evenkeel-") as private:
            self.give(private)
            extra = (("GIT_INDEX_FILE", os.path.join(private, "index")), ("GIT_OPTIONAL_LOCKS", "0"))
            self.inside("read-tree", commit, extra=extra)
            # No driver of anybody's configuration: a file may be hostile.
            words = ["--no-ext-diff", "--no-textconv", "--no-renames", "--raw", "--no-abbrev", "-z"]
            parts = self.inside("--work-tree", folder, "diff", *words, extra=extra).split("\0")
            others = self.inside("--work-tree", folder, "ls-files", "--others", "-z", extra=extra).split("\0")
        # :100644 100644 <blob> <blob> M, then its path.
        found = {path: (about.split()[4], about.split()[2]) for about, path in zip(parts[::2], parts[1::2])}
        return found, [path for path in others if path]

    def export(self, commit: str, folder: str) -> None:
        """Write a commit's whole tree into an existing empty folder (``git archive`` would leave out export-ignored files)."""
        self.give(folder)
        index = os.path.join(folder, ".evenkeel-index")
        extra = (("GIT_INDEX_FILE", index),)
        self.inside("read-tree", commit, extra=extra)
        self.inside("--work-tree", folder, "checkout-index", "--all", "--force", f"--prefix={folder}/", extra=extra)
        os.unlink(index)
