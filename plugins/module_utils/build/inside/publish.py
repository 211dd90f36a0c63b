# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs in a container that has the live files and what jobs built: put the built files beside the live ones.

What is new and hashed comes first (state ``offered``: only that), pages last, each file by a rename.  Nothing is deleted
but a compressed twin that would be served for a page that it is not of; what is replaced is kept for the way back.
Prints one line ``EVENKEEL {json}``.  Sent as text behind ``published.py``: standard library only.
"""

from __future__ import annotations

import filecmp
import hashlib
import json
import os
import re
import shutil
import stat
import sys
from collections.abc import Sequence
from typing import Any

from .published import PRIVATE, drop, dump, files_in, install, keep, load, prune, sync, write_list

NEW, SAME, OTHER = "new", "same", "other"
_TWIN = re.compile(r"\.(gz|br|zst)$")
_ENTRIES = (
    re.compile(
        r"^(manifest|asset-manifest|ngsw|version|webpack-stats|env|config|stats)[.\w-]*\.(json|js)$|\.webmanifest$"
    ),
    re.compile(r"\.html?$"),
    re.compile(r"^index\.html?$"),
    # Last: it has the browser fetch anew the pages that are there by then.
    re.compile(r"^(sw|service-?worker|ngsw-worker|firebase-messaging-sw)\.js$"),
)


class BuildFailed(Exception):
    """What was built cannot be published; nothing was replaced."""


def rank_of(relative: str) -> int:
    """When a file has its turn: what pages name before the pages, 0 for what names nobody."""
    name = _TWIN.sub("", os.path.basename(relative))
    return max([0, *(number for number, pattern in enumerate(_ENTRIES, 1) if pattern.search(name))])


def _status(source: str, live: str) -> str:
    if not os.path.lexists(live):
        return NEW
    one, other = os.lstat(source), os.lstat(live)
    if stat.S_ISDIR(other.st_mode):
        raise BuildFailed(f"{live.partition('/live/')[2]} is a folder in the live files and a file in the build")
    if (one.st_mode, one.st_uid, one.st_gid) != (other.st_mode, other.st_uid, other.st_gid):
        return OTHER
    if stat.S_ISLNK(one.st_mode):
        return SAME if os.readlink(source) == os.readlink(live) else OTHER
    return SAME if filecmp.cmp(source, live, shallow=False) else OTHER


class Publication:
    """The files of one release's build, and the live folder they go to."""

    def __init__(self, root: str, builds: Sequence[str]) -> None:
        self.root = root
        self.ours = os.path.join(root, PRIVATE, "build")
        self.backup = os.path.join(self.ours, "before")
        self.sources: dict[str, str] = {}
        for folder in builds:
            for relative in files_in(folder):
                if relative in self.sources:
                    raise BuildFailed(f"two jobs build {relative}")
                self.sources[relative] = os.path.join(folder, relative)
                kind = os.lstat(self.sources[relative]).st_mode
                if not (stat.S_ISREG(kind) or stat.S_ISLNK(kind)):
                    raise BuildFailed(f"{relative} in the build is neither a file nor a link")
        if not self.sources:
            raise BuildFailed("the build is empty: its job ended well and left no file")
        self.status = {r: _status(s, self.live(r)) for r, s in self.sources.items()}

    def live(self, relative: str) -> str:
        return os.path.join(self.root, relative)

    def turn(self, everything: bool) -> list[str]:
        """The files to put into place now, in that order."""
        names = [r for r, status in self.status.items() if status != SAME]
        if not everything:
            names = [r for r in names if self.status[r] == NEW and not rank_of(r) and not self._is_of_other(r)]
        return sorted(names, key=lambda r: (rank_of(r), self.status[r] == OTHER, r))

    def _is_of_other(self, relative: str) -> bool:
        """Whether it is the compressed twin of a file that is still another one."""
        return bool(_TWIN.search(relative)) and self.status.get(_TWIN.sub("", relative)) == OTHER

    def new_twins(self) -> list[str]:
        """Compressed twins that would have to go if what they are of came back."""
        return [r for r in self.status if self.status[r] == NEW and self._is_of_other(r)]

    def put(self, names: Sequence[str]) -> None:
        """Copy all of them first, so that a full disk replaces nothing, then rename one by one."""
        incoming = os.path.join(self.ours, "incoming")
        shutil.rmtree(incoming, ignore_errors=True)
        for relative in names:
            _copy(self.sources[relative], os.path.join(incoming, relative))
        for relative in names:
            live = self.live(relative)
            if self.status[relative] == OTHER:
                keep(live, self.backup, relative)
                self._set_stale_twins_aside(relative)
            self._make_folders(relative)
            os.replace(os.path.join(incoming, relative), live)
        sync(self.live(relative) for relative in names)
        shutil.rmtree(incoming, ignore_errors=True)

    def _set_stale_twins_aside(self, relative: str) -> None:
        """A web server prefers ``page.html.gz`` to ``page.html``, also when it is of the page before."""
        for end in (".gz", ".br", ".zst"):
            if relative + end not in self.sources and os.path.lexists(self.live(relative + end)):
                keep(self.live(relative + end), self.backup, relative + end)
                os.unlink(self.live(relative + end))

    def _make_folders(self, relative: str) -> None:
        source = self.sources[relative][: -len(relative)]
        parts = relative.split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            folder = "/".join(parts[:depth])
            if not os.path.isdir(self.live(folder)):
                os.mkdir(self.live(folder))
                _like(os.path.join(source, folder), self.live(folder))


def _like(source: str, target: str) -> None:
    """Give a file or folder the owner and the permissions of another."""
    known = os.lstat(source)
    os.chown(target, known.st_uid, known.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(known.st_mode):
        os.chmod(target, stat.S_IMODE(known.st_mode))


def _copy(source: str, target: str) -> None:
    """Copy a file with its owner and permissions; its time is now, so that no browser takes it for the one before."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.islink(source):
        os.symlink(os.readlink(source), target)
    else:
        with open(source, "rb") as stream, open(target, "wb") as copy:
            shutil.copyfileobj(stream, copy)
            copy.flush()
            os.fsync(copy.fileno())
    _like(source, target)


def _sum(path: str) -> str:
    """SHA-256 of a plain file, empty where there is none."""
    if os.path.islink(path) or not os.path.isfile(path):
        return ""
    with open(path, "rb") as stream:
        return hashlib.sha256(stream.read()).hexdigest()


def edited(made: Publication, own: Any, starting: Sequence[Sequence[float]]) -> list[str]:
    """Files that somebody changed since they were published, and that this publication would replace by yet other ones.

    :param own: what was published last.
    :param starting: from when to when containers started (UNIX seconds): what an entrypoint writes is nobody's work by hand.
    """
    known = load(os.path.join(made.ours, "sums.json"))
    if not own or {key: known.get(key) for key in ("release", "run")} != own:
        return []
    hotfixes = os.path.join(made.root, PRIVATE, "hotfix")
    plans = [
        load(os.path.join(hotfixes, n, "plan.json")) for n in (os.listdir(hotfixes) if os.path.isdir(hotfixes) else ())
    ]
    placed = {entry["path"] for plan in plans for entry in plan.get("entries") or ()}
    found = []
    for relative, total in sorted(known["sums"].items()):
        if made.status.get(relative) != OTHER or relative in placed or _TWIN.search(relative):
            continue
        live = made.live(relative)
        written = os.lstat(live).st_mtime
        mine = _sum(live)
        if mine not in ("", total, _sum(made.sources[relative])) and not any(
            begin <= written <= end for begin, end in starting
        ):
            found.append(relative)
    return found


def restore(root: str, release: str) -> dict[str, Any]:
    """Put back what the publication of a release has replaced, where it was the last one."""
    ours = os.path.join(root, PRIVATE, "build")
    own, before, unfinished = (os.path.join(ours, n) for n in ("own.json", "own-before.json", "unfinished"))
    sums, sums_before = os.path.join(ours, "sums.json"), os.path.join(ours, "sums-before.json")
    if load(own).get("release") != release and not os.path.exists(unfinished):
        return {"changed": False, "files": 0}
    for relative in load(os.path.join(ours, "twins.json")) or ():
        drop(os.path.join(root, relative))
    backup = os.path.join(ours, "before")
    kept = files_in(backup)
    for relative in sorted(kept, key=lambda r: (rank_of(r), r)):
        install(os.path.join(backup, relative), os.path.join(root, relative))
    if os.path.exists(sums_before):
        os.replace(sums_before, sums)
    if os.path.exists(before):
        os.replace(before, own)
    drop(unfinished)
    shutil.rmtree(backup, ignore_errors=True)
    return {"changed": bool(kept), "files": len(kept)}


def _begin(ours: str, own: Any, twins: Sequence[str]) -> None:
    """Get ready to replace files; what a publication that was killed has kept is the way back of this one too."""
    before, unfinished, known = (os.path.join(ours, n) for n in ("own-before.json", "unfinished", "twins.json"))
    if os.path.exists(unfinished) and os.path.exists(before):
        dump(known, sorted({*twins, *(load(known) or ())}))
        return
    drop(before)
    shutil.rmtree(os.path.join(ours, "before"), ignore_errors=True)
    dump(os.path.join(ours, "sums-before.json"), load(os.path.join(ours, "sums.json")))
    dump(known, list(twins))
    dump(before, own)
    with open(unfinished, "w", encoding="utf-8"):
        pass


def publish(
    root: str,
    builds: Sequence[str],
    release: str,
    run: str,
    everything: bool,
    living: Sequence[str],
    starting: Sequence[Sequence[float]] | None,
) -> dict[str, Any]:
    """Put a build beside the live files, or of it only what replaces nothing.

    :param run: which run of the jobs it is from.
    :param starting: see :func:`edited`; None where what somebody changed by hand may be replaced.
    """
    ours = os.path.join(root, PRIVATE, "build")
    own_path, unfinished = os.path.join(ours, "own.json"), os.path.join(ours, "unfinished")
    own, mine = load(own_path), {"release": release, "run": run}
    result: dict[str, Any] = {"changed": False, "files": 0, "replaced": 0, "unhashed": [], "removed": 0}
    if own == mine and not os.path.exists(unfinished):
        return result
    fresh = not any(name != PRIVATE for name in os.listdir(root))
    made = Publication(root, builds)
    by_hand = [] if starting is None else edited(made, own, starting)
    if by_hand:
        return {**result, "edited": by_hand}
    # The web server has no business in there.
    os.makedirs(os.path.join(root, PRIVATE), mode=0o700, exist_ok=True)
    os.makedirs(ours, exist_ok=True)
    if fresh and len(builds) == 1:
        _like(builds[0], root)
    write_list(root, "build", release, made.sources)
    _begin(ours, own, made.new_twins())
    names = made.turn(everything)
    made.put(names)
    replaced = [r for r in names if made.status[r] == OTHER]
    result.update(changed=bool(names), files=len(names), replaced=len(replaced))
    result["unhashed"] = [r for r in replaced if not rank_of(r) and not _TWIN.search(r)]
    if everything:
        dump(os.path.join(ours, "sums.json"), {**mine, "sums": {r: _sum(made.live(r)) for r in made.sources}})
        dump(own_path, mine)
        drop(unfinished)
        result["removed"] = len(prune(root, [*living, release] if living else ()))
    return result


def keep_found(root: str, folder: str) -> bool:
    """Copy what is live as somebody else's builds have left it, before the first publication replaces any of it.

    :returns: whether it is kept; taken up anew where that was killed, and never once something may have been replaced.
    """
    ours = os.path.join(root, PRIVATE, "build")
    if not load(os.path.join(ours, "own.json")) and not os.path.exists(os.path.join(ours, "unfinished")):
        for relative in files_in(folder):
            drop(os.path.join(folder, relative))
        found = [r for r in files_in(root) if r.split("/", 1)[0] != PRIVATE]
        for relative in found:
            _copy(os.path.join(root, relative), os.path.join(folder, relative))
        for inside, _folders, _names in os.walk(folder):
            _like(os.path.join(root, os.path.relpath(inside, folder)), inside)
        sync(os.path.join(folder, relative) for relative in found)
    return bool(files_in(folder))


def give_away(root: str) -> None:
    """Our folders belong to who owns the live one: a build that empties it, run by hand, has to get rid of them too."""
    owner = os.lstat(root)
    for folder, _folders, _names in os.walk(os.path.join(root, PRIVATE)):
        os.chown(folder, owner.st_uid, owner.st_gid, follow_symlinks=False)


def main(
    state: str,
    root: str,
    folder: str,
    release: str,
    run: str,
    everything: bool,
    living: Sequence[str],
    starting: Sequence[Sequence[float]] | None,
    found: str = "",
) -> None:
    """Do what was asked for and print the result.

    :param found: where to keep what is live before the first publication, empty where nothing is to be kept.
    """
    kept = False
    try:
        kept = bool(found) and keep_found(root, found)
        if state == "restored":
            result = restore(root, release)
        else:
            builds = [os.path.join(folder, name) for name in sorted(os.listdir(folder))]
            result = publish(root, builds, release, run, everything, living, starting)
    except BuildFailed as error:
        result = {"error": str(error)}
    finally:
        give_away(root)
    sys.stdout.write("\nEVENKEEL " + json.dumps({**result, "kept": kept}) + "\n")
