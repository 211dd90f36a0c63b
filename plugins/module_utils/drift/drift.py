# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What somebody changed by hand: files that differ from those of the image or release they came from.

Only paths, sums and modes are compared here; ``drift/host/containers.py`` reads them.
"""

from __future__ import annotations

import difflib
import posixpath
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..engine.path_content import FILE, FOLDER, OTHER, Held, starting

CHANGED, ADDED, REMOVED, UNREAD = "changed", "added", "removed", "unread"

#: Folders of which nobody expects that they stay as they are.
_RESTLESS = (
    "/dev", "/proc", "/run", "/sys", "/tmp", "/var/cache", "/var/lib/apt", "/var/lib/nginx", "/var/lib/systemd", "/var/log",
    "/var/run", "/var/spool", "/var/tmp",
)  # fmt: skip
#: Names, of a file or of a folder on the way to it.
_NOISE = re.compile(
    r"(?:.*\.(?:py[co]|log|log\.\d+|pid|sock|socket|lock|swp|swo|tmp|part)|__pycache__|.*~|\.cache|\.pytest_cache"
    r"|\.(?:bash|ash|python|psql|sqlite|rediscli|node_repl)_?history|\.lesshst|\.viminfo|\.wget-hsts|\.DS_Store|\.dockerenv"
    r"|celerybeat-schedule.*|celerybeat\.pid|gunicorn\.ctl)"
)
#: What people's package managers pin versions in: named as programs name their locks, and content all the same.
_PINNED = re.compile(
    r"(?:poetry|uv|pdm|Pipfile|pixi|conda(?:-.*)?|requirements.*|yarn|bun|deno|composer|Gemfile|gems|Cargo|mix|rebar|pubspec"
    r"|Podfile|Cartfile|Package|flake|flox|Chart|paket|packages|cpanfile|devbox|renv|stack\.yaml|cabal\.project)\.lock"
)
# The engine writes these for each container.
_ENGINES = {"/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/mtab"}


@dataclass(frozen=True)
class Difference:
    """One path at which somebody's hand is seen.

    ``before`` and ``after`` are sums, empty where there is nothing (or it was not read); ``at_start`` says that it was
    written as its container started, as entrypoints do.
    """

    path: str
    change: str
    before: str = ""
    after: str = ""
    at: float = 0.0
    at_start: bool = False
    why: str = ""


def is_noise(path: str) -> bool:
    """Whether a path is one that programs write as they run: compiled files, logs, temporary files, sockets, locks.

    :param path: in a container where it begins with ``/``, else in a tree.
    """
    if path in _ENGINES or any(path == folder or path.startswith(f"{folder}/") for folder in _RESTLESS):
        return True
    return any(_NOISE.fullmatch(part) and not _PINNED.fullmatch(part) for part in path.split("/") if part)


def is_below(path: str, folders: Iterable[str]) -> bool:
    """Whether a path is one of these, or lies in one of them."""
    return any(path == f or path.startswith(f"{f.rstrip('/')}/") for f in folders)


def to_read(changed: Collection[str], mounted: Collection[str]) -> tuple[list[str], int]:
    """Of the paths of a container's own layer those that have to be looked at, and how many are noise.

    :param changed: as the engine names them, folders on the way to a change included.
    :param mounted: where something else is mounted: what the layer has there nobody sees.
    """
    # A mount makes its own mount point, and the folders on the way to it, in the layer.
    on_the_way = {folder for path in (*changed, *mounted) for folder in _folders_of(path)}
    left = [p for p in sorted(changed) if p not in on_the_way and not is_below(p, mounted)]
    wanted = [p for p in left if not is_noise(p)]
    return wanted, len(left) - len(wanted)


def _folders_of(path: str) -> Iterable[str]:
    folder = posixpath.dirname(path)
    while folder not in ("", "/"):
        yield folder
        folder = posixpath.dirname(folder)


def differences(
    before: Mapping[str, Held], after: Mapping[str, Held], started: float = 0.0, modes: bool = True
) -> list[Difference]:
    """What differs between what was given and what is there, by path; times and owners do not count.

    :param started: when the container started (UNIX seconds), 0 where nothing does.
    :param modes: whether permissions count.
    """
    found = []
    for path in sorted({*before, *after}):
        difference = _difference(path, before.get(path), after.get(path), started, modes)
        if difference:
            found.append(difference)
    return found


def _difference(path: str, old: Held | None, new: Held | None, started: float, modes: bool) -> Difference | None:
    # Git keeps no folders, and an empty one changes nothing.
    if (old is None or old.kind == FOLDER) and (new is None or new.kind == FOLDER):
        return None
    if (new and new.kind == OTHER) or (old and old.kind == OTHER):
        # Sockets and pipes are there while somebody listens.
        return None
    at = new.at if new else 0.0
    begin, end = starting(started)
    at_start = bool(started and new and begin <= new.at <= end)
    before, after = (h.sum if h and h.kind != FOLDER else "" for h in (old, new))
    why = next((h.why for h in (old, new) if h and h.why), "")
    if why:
        return Difference(path, UNREAD, before, after, at, at_start, why)
    if old is None or old.kind == FOLDER:
        return Difference(path, ADDED, "", after, at, at_start)
    if new is None or new.kind == FOLDER:
        return Difference(path, REMOVED, before, "", at, at_start)
    if (old.kind, old.sum) != (new.kind, new.sum):
        return Difference(path, CHANGED, before, after, at, at_start)
    if modes and old.kind == FILE and old.mode != new.mode:
        return Difference(path, CHANGED, before, after, at, at_start, f"permissions {old.mode:04o} -> {new.mode:04o}")
    return None


def without_noise(files: Mapping[str, Held]) -> dict[str, Held]:
    """A tree without what programs write into it."""
    return {path: held for path, held in files.items() if not is_noise(path)}


def tree_paths(
    found: Sequence[Difference], tree: Mapping[str, str], root: str = "", known: Mapping[str, str] | None = None
) -> dict[str, str]:
    """For each difference in a container the path in the revision's tree that it belongs to; those without one are left out.

    A changed file is the one with the sum that the image has for it, of several the one whose path has the longest end in
    common; what was added lies where its folder does.

    :param tree: path in the tree → SHA-256.
    :param root: the image's working folder, where there is nothing better to go by.
    :param known: further folders of the container → folders of the tree, empty for the tree itself.
    """
    by_sum: dict[str, list[str]] = {}
    for path, total in tree.items():
        by_sum.setdefault(total, []).append(path)
    result: dict[str, str] = {}
    folders = dict(known or {})
    for difference in found:
        alike = by_sum.get(difference.before, []) if difference.before else []
        if alike:
            best = max(sorted(alike), key=lambda p, d=difference: _common_end(p, d.path))  # type: ignore[misc]
            result[difference.path] = best
            stem = _without_end(difference.path, best)
            if stem:
                folders.setdefault(stem[0], stem[1])
    if root:
        folders.setdefault(root.rstrip("/") or "/", "")
    for difference in found:
        inside = max((f for f in folders if is_below(difference.path, [f])), key=len, default="")
        if difference.path not in result and inside:
            relative = posixpath.join(folders[inside], difference.path[len(inside.rstrip("/")) + 1 :])
            # What the image has and the revision has not, such as an installed package, is none of its files.
            if difference.change == ADDED or relative in tree:
                result[difference.path] = relative
    return result


def _common_end(one: str, other: str) -> int:
    count = 0
    for a, b in zip(reversed(one.split("/")), reversed(other.split("/"))):
        if a != b:
            break
        count += 1
    return count


def _without_end(path: str, relative: str) -> tuple[str, str] | None:
    """``/app/shop/urls.py`` and ``src/shop/urls.py`` → ``/app`` and ``src``: folders whose contents are the same."""
    common = _common_end(path, relative)
    if not common:
        return None
    return "/".join(path.split("/")[:-common]) or "/", "/".join(relative.split("/")[:-common])


def patch_of(path: str, before: bytes | None, after: bytes | None, mode: int = 0o644) -> str:
    """A hand edit as a patch that ``git apply`` takes, empty where nothing differs.

    :param path: in the tree.
    :param before: None where there is no such file; ``after``: None where there is none any more.
    :param mode: of a file that is added or removed.
    :raises ValueError: it is no text, or its name cannot stand in a patch.
    """
    if before == after:
        return ""
    if re.search(r"[\x00-\x1f\x7f\"\\]", path) or path.startswith("/") or {"", ".", ".."} & set(path.split("/")):
        raise ValueError(f"{path!r} cannot be named in a patch")
    texts = []
    for content in (before or b"", after or b""):
        if b"\0" in content:
            raise ValueError(f"{path} is no text")
        # A lone carriage return ends no line for git.
        texts.append([line + "\n" for line in content.decode("utf-8").split("\n")])
    for lines in texts:
        # What follows the last newline is nothing, or a line without one.
        if lines[-1] == "\n":
            lines.pop()
        else:
            lines[-1] = lines[-1][:-1]
    kind = "100755" if mode & 0o100 else "100644"
    head = [f"diff --git a/{path} b/{path}\n"]
    if before is None:
        head.append(f"new file mode {kind}\n")
    elif after is None:
        head.append(f"deleted file mode {kind}\n")
    names = ("/dev/null" if before is None else f"a/{path}", "/dev/null" if after is None else f"b/{path}")
    body = list(difflib.unified_diff(texts[0], texts[1], *names))
    # Names with blanks end in a tab, as git writes them.
    body[:2] = [f"{line.rstrip()}{chr(9) if ' ' in path and '/dev/null' not in line else ''}\n" for line in body[:2]]
    return "".join([*head, *(x if x.endswith("\n") else f"{x}\n\\ No newline at end of file\n" for x in body)])
