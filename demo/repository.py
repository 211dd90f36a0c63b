#!/usr/bin/env python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the demo shop's git repository: ``python demo/repository.py DEST.git``.

The result is bare, like the one a team pushes to. ``main`` goes v1 → v2 → v3,
each with its tag; every ``bad-*`` tag is one commit on v2, and further tags are shops
that are built otherwise. What a version changes
lies in ``demo/overlays/<tag>/``: files put over its parent's tree, and in
``.removed`` the names of files that go.

Author, dates and modes are fixed and nobody's git configuration is read, so the
same files give the same commit ids everywhere. A second run changes nothing.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

HERE = Path(__file__).resolve().parent
AUTHOR = "Even Keel Travel"
EMAIL = "team@shop.example"
FIRST_COMMIT = 1767603600  # 2026-01-05 09:00:00 UTC
BETWEEN_COMMITS = 24 * 3600
REMOVED = ".removed"
FILE, EXECUTABLE = "100644", "100755"
NOT_SOURCE = {".env", "__pycache__", "staticfiles", "media", ".git"}


class RepositoryError(Exception):
    """What went wrong, in words for the person at the terminal."""


@dataclass(frozen=True)
class Version:
    """One version of the shop: its tag, the one it is built on, and why."""

    tag: str
    parent: str | None
    message: str


@dataclass(frozen=True)
class Blob:
    """New content of one file. Without a mode it keeps the one it has."""

    content: bytes
    mode: str | None = None


Changes = Mapping[str, Optional[Blob]]

MAIN = (
    Version("v1", None, "The shop"),
    Version("v2", "v1", "Summer: prices in euro, new colours, winter is over"),
    Version("v3", "v2", "Price per day in the API, number of tours on the page"),
)
BAD = (
    Version("bad-unhealthy", "v2", "Health asks a search service that nobody runs"),
    Version("bad-crash", "v2", "Metrics exporter that ends the server after 4 s"),
    Version("bad-import", "v2", "Telemetry, with its module not committed"),
    Version("bad-500", "v2", "Discounts, by a field that does not exist"),
    Version("bad-worker", "v2", "Workers by a module of their own, which is not committed"),
    Version("bad-beat", "v2", "Schedule in the database, without the package for it"),
    Version("bad-build", "v2", "Front end built by npm, which the image lacks"),
    Version("bad-oom", "v2", "Recommendations in memory, past a limit of 160 MB"),
    Version("bad-reserve", "v2", "Reserves half a terabyte of memory"),
)
VARIANTS = (
    Version("frontend", "v1", "A front end of its own, built by a job that fills a volume of nginx"),
    Version("frontend-2", "frontend", "Summer in the front end"),
    Version("entrypoint", "v1", "The image migrates and collects static files when it starts"),
)
VERSIONS = {version.tag: version for version in MAIN + BAD + VARIANTS}


class Git:
    """Git on one bare repository, deaf to the user's and the system's settings."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
        self.env.update(
            GIT_CONFIG_NOSYSTEM="1",
            GIT_CONFIG_SYSTEM=os.devnull,
            GIT_CONFIG_GLOBAL=os.devnull,
            GIT_TERMINAL_PROMPT="0",
            LC_ALL="C",
        )

    def __call__(self, *args: str, stdin: bytes = b"", **env: str) -> str:
        """Run one git command and give what it prints."""
        argv = ["git", "--git-dir", str(self.directory), *args]
        try:
            done = subprocess.run(argv, input=stdin, env={**self.env, **env}, capture_output=True, check=False)
        except FileNotFoundError:
            raise RepositoryError("git is not installed: apt-get install git") from None
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip()
            raise RepositoryError(f"git {args[0]} failed: {said or done.returncode}")
        return done.stdout.decode().strip()

    def commit_of(self, revision: str) -> str | None:
        """The commit id of a revision, or None where there is no such thing."""
        try:
            return self("rev-parse", "--verify", "--quiet", revision + "^{commit}")
        except RepositoryError:
            return None

    def contains(self, branch: str, commit: str) -> bool:
        """Whether the commit is the branch's tip or one of its ancestors."""
        if self.commit_of(branch) is None:
            return False
        return self("rev-list", "-n", "1", commit, "--not", branch) == ""

    def commit(self, parent: str | None, changes: Changes, message: str, when: int) -> str:
        """Write parent's tree with the changes as a commit; move no reference."""
        date = f"{when} +0000"
        with tempfile.TemporaryDirectory(prefix="evenkeel-") as scratch:
            index = os.path.join(scratch, "index")
            modes = {}
            if parent:
                self("read-tree", parent, GIT_INDEX_FILE=index)
                listing = self("ls-tree", "-r", "-z", parent)
                for entry in filter(None, listing.split("\0")):
                    meta, name = entry.split("\t", 1)
                    modes[name] = meta.split()[0]
            lines = []
            for name, blob in sorted(changes.items()):
                check_name(name)
                if blob is not None:
                    mode = blob.mode or modes.get(name, FILE)
                    oid = self("hash-object", "-w", "--stdin", stdin=blob.content)
                    lines.append(f"{mode} {oid}\t{name}\0")
                elif name in modes:
                    lines.append(f"0 {'0' * 40}\t{name}\0")
                else:
                    raise RepositoryError(f"cannot remove {name}: it is not there")
            stdin = "".join(lines).encode()
            self("update-index", "-z", "--index-info", stdin=stdin, GIT_INDEX_FILE=index)
            tree = self("write-tree", GIT_INDEX_FILE=index)
        return self(
            "commit-tree",
            tree,
            *(("-p", parent) if parent else ()),
            stdin=message.encode() + b"\n",
            GIT_AUTHOR_NAME=AUTHOR,
            GIT_AUTHOR_EMAIL=EMAIL,
            GIT_AUTHOR_DATE=date,
            GIT_COMMITTER_NAME=AUTHOR,
            GIT_COMMITTER_EMAIL=EMAIL,
            GIT_COMMITTER_DATE=date,
        )


def check_name(name: str) -> None:
    """Refuse a path that would leave the tree or end in git's own directory."""
    parts = name.split("/")
    if not name or "\0" in name or any(part in ("", ".", "..", ".git") for part in parts):
        raise RepositoryError(f"not a path inside the repository: {name!r}")


def read_tree(root: Path) -> dict[str, Blob | None]:
    """The files below a directory as changes; what ``.removed`` names as removals."""
    if not root.is_dir():
        raise RepositoryError(f"no such directory: {root}")
    changes: dict[str, Blob | None] = {}
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root)
        if is_not_source(inside.parts) or (path.is_dir() and not path.is_symlink()):
            continue
        if path.is_symlink() or not path.is_file():
            raise RepositoryError(f"neither a file nor a directory: {path}")
        if str(inside) == REMOVED:
            changes.update((name, None) for name in path.read_text().split())
            continue
        mode = EXECUTABLE if path.stat().st_mode & 0o100 else FILE
        changes[inside.as_posix()] = Blob(path.read_bytes(), mode)
    return changes


def is_not_source(parts: Iterable[str]) -> bool:
    """Whether a path is what tools and local runs leave behind."""
    return any(part in NOT_SOURCE or part.endswith((".pyc", "_cache")) for part in parts)


def open_repository(dest: Path) -> Git:
    """The bare repository at ``dest``, made if there is nothing yet."""
    git = Git(dest)
    if dest.is_dir() and any(dest.iterdir()):
        if not ((dest / "HEAD").is_file() and (dest / "objects").is_dir()):
            raise RepositoryError(f"{dest} is there and is not a bare git repository")
    elif dest.exists() and not dest.is_dir():
        raise RepositoryError(f"{dest} is there and is not a directory")
    else:
        dest.parent.mkdir(parents=True, exist_ok=True)
        git("init", "--quiet", "--bare", "--template=", "--initial-branch=main")
    return git


def wanted(tags: Sequence[str]) -> list[Version]:
    """The versions with these tags and all below them, parents first."""
    needed = set()
    for tag in tags or VERSIONS:
        if tag not in VERSIONS:
            raise RepositoryError(f"no version {tag!r}; there are: {', '.join(VERSIONS)}")
        version: Version | None = VERSIONS[tag]
        while version:
            needed.add(version.tag)
            version = VERSIONS[version.parent] if version.parent else None
    return [version for version in MAIN + BAD + VARIANTS if version.tag in needed]


def build(dest: str | Path, tags: Sequence[str] = (), source: Path = HERE) -> dict[str, str]:
    """Make or refresh the repository; give each tag's commit id.

    ``tags`` limits it to some versions and what they are built on. A ``main`` that
    already contains the newest of v1 to v3 (someone committed on) stays.
    """
    git = open_repository(Path(dest))
    made: dict[str, str] = {}
    for version in wanted(tags):
        overlay = version.parent is not None
        tree = source / "overlays" / version.tag if overlay else source / "shop"
        position = list(VERSIONS).index(version.tag)
        made[version.tag] = git.commit(
            made[version.parent] if version.parent else None,
            read_tree(tree),
            version.message,
            FIRST_COMMIT + position * BETWEEN_COMMITS,
        )
    for tag, commit in made.items():
        if git.commit_of(f"refs/tags/{tag}") != commit:
            git("update-ref", f"refs/tags/{tag}", commit)
    newest = [made[version.tag] for version in MAIN if version.tag in made][-1]
    if not git.contains("refs/heads/main", newest):
        git("update-ref", "refs/heads/main", newest)
    return made


def add_commit(
    dest: str | Path,
    files: Mapping[str, str | bytes | None],
    tag: str,
    parent: str = "main",
    message: str = "",
    branch: str | None = None,
) -> str:
    """Put one more commit on ``parent``, tag it, and give its id.

    ``files``: path → new content, or None to remove it. The date is an hour after
    the parent's. A ``branch`` (``"main"``, say) is moved there too. The same call
    gives the same commit; a tag that means another commit is not moved.
    """
    git = open_repository(Path(dest))
    base = git.commit_of(parent)
    if base is None:
        raise RepositoryError(f"{dest} has no revision {parent!r}")
    changes = {
        name: None if text is None else Blob(text.encode() if isinstance(text, str) else text)
        for name, text in files.items()
    }
    when = int(git("show", "--no-patch", "--format=%ct", base)) + 3600
    commit = git.commit(base, changes, message or f"Make {tag}", when)
    git("check-ref-format", f"refs/tags/{tag}")
    present = git.commit_of(f"refs/tags/{tag}")
    if present is None:
        git("update-ref", f"refs/tags/{tag}", commit)
    elif present != commit:
        raise RepositoryError(f"tag {tag} is there and is another commit: {present}")
    if branch:
        git("update-ref", f"refs/heads/{branch}", commit)
    return commit


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; 1 and a sentence on stderr where it cannot be done."""
    parser = argparse.ArgumentParser(
        description="Build the demo shop's git repository.",
        epilog="versions: " + " ".join(VERSIONS),
    )
    parser.add_argument("dest", type=Path, metavar="DEST.git")
    parser.add_argument(
        "--tag",
        action="append",
        default=[],
        help="only this version and those below it (may be repeated)",
    )
    options = parser.parse_args(argv)
    try:
        made = build(options.dest, options.tag)
    except (RepositoryError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    for tag, commit in made.items():
        print(f"{commit} {tag}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
