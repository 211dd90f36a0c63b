# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs in a container that has a folder of live files: puts changed ones there, and takes them back.

All of it is written beside them before the first is replaced, each by a rename; what is replaced is kept.  A plan is there
before the first rename, so whoever was killed is taken up by the same call.  Prints one line ``EVENKEEL {json}``.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import json
import os
import shutil
import stat
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from ...build import asset_names
from ...build.inside.publish import give_away, rank_of
from ...build.inside.published import PRIVATE, clear, drop, dump, files_in, keep, load, sync

_LARGEST_TEXT = 8 * 1024 * 1024
_ENDS = (".gz", ".br", ".zst")
APPLYING, APPLIED, REVERTING = "applying", "applied", "reverting"


class Refused(Exception):
    """It cannot be done, and nothing was; ``advice`` is what to do."""

    def __init__(self, what: str, advice: str = "") -> None:
        super().__init__(what)
        self.advice = advice


def _sum(path: str) -> str | None:
    """SHA-256 of a plain file, None where nothing is, a word where it is something else."""
    if not os.path.lexists(path):
        return None
    if not stat.S_ISREG(os.lstat(path).st_mode):
        return "no plain file"
    with open(path, "rb") as stream:
        return hashlib.sha256(stream.read()).hexdigest()


def _bytes(path: str) -> int:
    return os.path.getsize(path) if os.path.isfile(path) else 0


class Folder:
    """The live files, and what of them one hotfix has changed."""

    def __init__(self, root: str, name: str) -> None:
        self.root = root
        self.all = os.path.join(root, PRIVATE, "hotfix")
        self.ours = os.path.join(self.all, name)
        self.name = name
        self.incoming, self.backup = os.path.join(self.ours, "incoming"), os.path.join(self.ours, "before")
        self._plan = os.path.join(self.ours, "plan.json")
        self.plan: dict[str, Any] = load(self._plan)

    def live(self, path: str) -> str:
        """Where a file is.

        :raises Refused: a link would lead elsewhere.
        """
        at = os.path.join(self.root, path)
        folder, top = os.path.dirname(at), os.path.realpath(self.root)
        if os.path.realpath(folder) != os.path.normpath(os.path.join(top, os.path.dirname(path))):
            raise Refused(f"{path} lies behind a link, which may lead anywhere", "name the file by its own path")
        if os.path.lexists(at) and not stat.S_ISREG(os.lstat(at).st_mode):
            raise Refused(f"{path} is no plain file there", "name a file")
        return at

    def names(self) -> list[str]:
        """Every plain file that is served."""
        found = [p for p in files_in(self.root) if p.split("/")[0] != PRIVATE]
        return [p for p in found if stat.S_ISREG(os.lstat(os.path.join(self.root, p)).st_mode)]

    def note(self, **values: Any) -> None:
        """Write down how far it is."""
        self.plan = {**self.plan, **values}
        dump(self._plan, self.plan)

    def others(self) -> dict[str, dict[str, Any]]:
        """The plans of other hotfixes, by their names."""
        names = sorted(os.listdir(self.all)) if os.path.isdir(self.all) else ()
        found = {n: load(os.path.join(self.all, n, "plan.json")) for n in names if n != self.name}
        return {name: plan for name, plan in found.items() if plan}

    def next_number(self) -> int:
        """Which of all hotfixes the next one is."""
        return 1 + max([0, *(int(plan["number"]) for plan in self.others().values())])

    def later_on(self, path: str) -> list[str]:
        """Hotfixes that changed a file after this one, the last one first."""
        found = [
            (plan["number"], name)
            for name, plan in self.others().items()
            if plan["number"] > self.plan["number"] and any(e["path"] == path for e in plan["entries"])
        ]
        return [name for _number, name in sorted(found, reverse=True)]


def _content(folder: Folder, path: str, given: Mapping[str, bytes]) -> bytes:
    at = os.path.join(folder.root, path)
    if path not in given and os.path.getsize(at) > _LARGEST_TEXT:
        return b""
    with open(at, "rb") as stream:
        return stream.read()


def compressed(content: bytes) -> bytes:
    """Its form for ``gzip_static``, without a time: the same file twice is the same twin."""
    return gzip.compress(content, 9, mtime=0)


def _twins(
    folder: Folder, path: str, old: str, content: bytes, writes: dict[str, bytes | None], notes: list[str]
) -> None:
    """Bring compressed forms along: a web server prefers them to the file, also when they are of the one before."""
    for end in _ENDS:
        if not os.path.lexists(os.path.join(folder.root, old + end)):
            continue
        if end == ".gz":
            writes[path + end] = compressed(content)
        else:
            notes.append(f"{path} is served without its {end[1:]} form until the next build")
            if path == old:
                writes[path + end] = None


def planned(
    folder: Folder, kind: str, given: Mapping[str, bytes], asked: Mapping[str, Any]
) -> tuple[dict[str, bytes | None], dict[str, str], list[str]]:
    """What is written, or taken away (None); path → whose owner and mode it gets; notes.

    :param asked: owner and mode, where they are named.
    :raises Refused: it cannot be.
    """
    for path in given:
        folder.live(path)
    notes: list[str] = []
    likes = {path: path for path in given}
    if kind == "media":
        return {p: c for p, c in given.items() if _differs(folder, p, c, asked)}, likes, notes
    try:
        changes = asset_names.changed(given, folder.names(), lambda p: _content(folder, p, given))
    except asset_names.BadChange as error:
        raise Refused(
            str(error),
            "build the front end, and update: ansible-playbook evenkeel.deploy.update -e update_version=VERSION",
        ) from error
    old = {new: before for before, new in changes.renamed.items()}
    writes: dict[str, bytes | None] = dict(changes.writes)
    writes.update((p, c) for p, c in given.items() if p not in changes.renamed and _differs(folder, p, c, asked))
    notes += changes.notes
    for path, content in changes.writes.items():
        likes[path] = old.get(path, path)
        _twins(folder, path, likes[path], content, writes, notes)
    for path in writes:
        folder.live(path)
    return writes, likes, notes


def _differs(folder: Folder, path: str, content: bytes, asked: Mapping[str, Any]) -> bool:
    """Whether a file is another one, or belongs to another one than it should."""
    live = folder.live(path)
    if _sum(live) != hashlib.sha256(content).hexdigest():
        return True
    about, owner, mode = os.lstat(live), asked.get("owner"), asked.get("mode")
    return bool(
        (owner and [about.st_uid, about.st_gid] != owner) or (mode and stat.S_IMODE(about.st_mode) != int(mode, 8))
    )


def _prepare(
    folder: Folder, writes: Mapping[str, bytes | None], likes: Mapping[str, str], given: Mapping[str, Any]
) -> None:
    """Write everything beside the live files, with owner and mode."""
    clear(folder.incoming)
    owner, mode = given.get("owner"), given.get("mode")
    for path, content in writes.items():
        if content is None:
            continue
        at = os.path.join(folder.incoming, path)
        os.makedirs(os.path.dirname(at), exist_ok=True)
        like = os.path.join(folder.root, likes.get(path, path))
        known = os.lstat(like) if os.path.lexists(like) else None
        above = os.lstat(_nearest(folder.root, path))
        with open(at, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        about = known or above
        os.chown(at, *(owner or (about.st_uid, about.st_gid)))
        os.chmod(at, int(mode, 8) if mode else stat.S_IMODE(known.st_mode) if known else 0o644)


def _nearest(root: str, path: str) -> str:
    folder = os.path.dirname(os.path.join(root, path))
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return folder


def _missing(root: str, paths: Iterable[str]) -> list[str]:
    """The folders that files would need, each after the one it lies in."""
    found = set()
    for path in paths:
        parts = path.split("/")[:-1]
        found |= {"/".join(parts[:depth]) for depth in range(1, len(parts) + 1)}
    return sorted(f for f in found if not os.path.isdir(os.path.join(root, f)))


def _make_folders(root: str, path: str) -> None:
    parts = path.split("/")[:-1]
    for depth in range(1, len(parts) + 1):
        at = os.path.join(root, *parts[:depth])
        if not os.path.isdir(at):
            above = os.lstat(os.path.dirname(at))
            os.mkdir(at)
            os.chown(at, above.st_uid, above.st_gid)
            os.chmod(at, stat.S_IMODE(above.st_mode))


def apply(folder: Folder, kind: str, given: Mapping[str, Any], dry: bool) -> dict[str, Any]:
    """Put changed files into place.

    :raises Refused: nothing was replaced, or somebody else was there in between.
    """
    files = {path: base64.b64decode(text) for path, text in given["files"].items()}
    about = [
        sorted((p, hashlib.sha256(c).hexdigest()) for p, c in files.items()),
        given.get("owner"),
        given.get("mode"),
    ]
    request = hashlib.sha256(json.dumps(about).encode()).hexdigest()
    back = f"ansible-playbook evenkeel.deploy.rollback -e rollback_hotfix={folder.name}"
    known = folder.plan
    if known and (known["request"] != request or known["state"] == REVERTING):
        why = "was being taken back" if known["state"] == REVERTING else "is there already, and is another one"
        raise Refused(f"a hotfix called {folder.name} {why}", f"{back}, or set hotfix_name")
    if known and known["state"] == APPLIED:
        others = [e["path"] for e in known["entries"] if _sum(folder.live(e["path"])) != e["after"]]
        if others:
            raise Refused(
                f"the hotfix {folder.name} was put there, and {', '.join(others)} is another one since (a build, or somebody by hand)",
                f"{back}, which leaves what others changed as it is; then run the same command again",
            )
        return _report(known, False)
    if not known:
        writes, likes, notes = planned(folder, kind, files, given)
        # What is new is named by what is replaced.
        order = sorted(writes, key=lambda p: (rank_of(p), os.path.lexists(folder.live(p)), p))
        entries = [
            {
                "path": p,
                "before": _sum(folder.live(p)),
                "after": None if c is None else hashlib.sha256(c).hexdigest(),
                "bytes": [_bytes(folder.live(p)), len(c or b"")],
            }
            for p, c in ((p, writes[p]) for p in order)
        ]
        plan = {
            "request": request, "kind": kind, "state": APPLYING, "entries": entries, "notes": notes,
            "number": folder.next_number(), "folders": _missing(folder.root, writes),
        }  # fmt: skip
        if dry or not entries:
            return _report(plan, bool(entries))
        os.makedirs(os.path.join(folder.root, PRIVATE), mode=0o700, exist_ok=True)
        os.makedirs(folder.ours, exist_ok=True)
        try:
            _prepare(folder, writes, likes, given)
        except OSError as error:
            # Why it could not be written is what has to be told; what stays is cleared by the next call.
            shutil.rmtree(folder.ours, ignore_errors=True)
            raise Refused(
                f"the files could not be written beside the live ones: {error.strerror}", "make room"
            ) from error
        folder.note(**plan)
    if dry:
        return _report(folder.plan, True)
    for entry in folder.plan["entries"]:
        _forward(folder, entry)
    sync(os.path.join(folder.root, entry["path"]) for entry in folder.plan["entries"])
    folder.note(state=APPLIED)
    # It is applied, whatever stays of where it was written first.
    shutil.rmtree(folder.incoming, ignore_errors=True)
    return _report(folder.plan, True)


def _forward(folder: Folder, entry: Mapping[str, Any]) -> None:
    path, live = str(entry["path"]), folder.live(str(entry["path"]))
    now, incoming = _sum(live), os.path.join(folder.incoming, path)
    if now == entry["after"] and not (now == entry["before"] and os.path.lexists(incoming)):
        # Where only its owner changes, whether it was moved tells.
        return
    if now != entry["before"]:
        raise Refused(
            f"{path} was changed by somebody else meanwhile",
            f"ansible-playbook evenkeel.deploy.rollback -e rollback_hotfix={folder.name}; then run the same command again",
        )
    keep(live, folder.backup, path)
    if entry["after"] is None:
        drop(live)
        return
    _make_folders(folder.root, path)
    os.replace(incoming, live)


def revert(folder: Folder, dry: bool) -> dict[str, Any]:
    """Put back what a hotfix has replaced, pages first; copies under new names stay, since pages that are open ask for them.

    :raises Refused: another hotfix lies on one of its files.
    """
    if not folder.plan:
        if not dry:
            # Of one that was killed before anything was replaced.
            clear(folder.ours)
        return {"changed": False, "entries": [], "notes": []}
    entries = list(reversed(folder.plan["entries"]))
    notes = []
    for entry in entries:
        others = folder.later_on(entry["path"])
        if others:
            raise Refused(
                f"the hotfix {others[0]} changed {entry['path']} after {folder.name}",
                f"ansible-playbook evenkeel.deploy.rollback -e rollback_hotfix={others[0]} first",
            )
    if dry:
        return _report(folder.plan, True)
    folder.note(state=REVERTING)
    for entry in entries:
        path, live = entry["path"], folder.live(entry["path"])
        now, kept = _sum(live), os.path.join(folder.backup, path)
        same = now is not None and now == entry["after"] and os.path.lexists(kept) and not os.path.samefile(kept, live)
        if now == entry["before"] and not same:
            continue
        if now != entry["after"]:
            notes.append(f"{path} was replaced since, and is left as it is")
        elif entry["before"] is not None:
            _make_folders(folder.root, path)
            # A copy, so that one which was killed here still has it.
            again = os.path.join(folder.ours, "again")
            drop(again)
            os.link(kept, again)
            os.replace(again, live)
        elif folder.plan["kind"] == "media" or asset_names.is_twin(path) or asset_names.is_page(path):
            drop(live)
        else:
            notes.append(f"{path} stays for pages that are open")
    for made in reversed(folder.plan["folders"]):
        with contextlib.suppress(OSError):
            # Unless somebody has put something there.
            os.rmdir(os.path.join(folder.root, made))
    sync(os.path.join(folder.root, entry["path"]) for entry in folder.plan["entries"])
    report = {**_report(folder.plan, True), "notes": notes}
    shutil.rmtree(folder.ours)
    return report


def seen(folder: Folder, given: Mapping[str, Any]) -> dict[str, Any]:
    """What is there of some files, by path: SHA-256, None for nothing."""
    return {"seen": {path: _sum(os.path.join(folder.root, path)) for path in given["paths"]}}


def _report(plan: Mapping[str, Any], changed: bool) -> dict[str, Any]:
    return {"changed": changed, "entries": plan["entries"], "notes": plan["notes"]}


def main(state: str, root: str, kind: str, name: str, dry: bool) -> None:
    """Do what was asked for and print the result; the files come at the standard input."""
    folder = Folder(root, name)
    try:
        given = json.load(sys.stdin)
        if not os.path.isdir(root):
            raise Refused("what is mounted there is no folder", "name a folder or a volume")
        if state == "checked":
            result = seen(folder, given)
        else:
            result = revert(folder, dry) if state == "reverted" else apply(folder, kind, given, dry)
    except Refused as error:
        result = {"error": str(error), "advice": error.advice}
    except OSError as error:
        at = os.path.relpath(str(error.filename), root) if error.filename else "the folder"
        advice = "what was replaced is kept; see to that, and run the same command again"
        result = {"error": f"{at}: {error.strerror}", "advice": advice}
    finally:
        if not dry:
            # A full disk or so: the result says it.
            with contextlib.suppress(OSError):
                give_away(root)
    result["begun"] = load(os.path.join(folder.ours, "plan.json")).get("state", "")
    sys.stdout.write("\nEVENKEEL " + json.dumps(result) + "\n")
