# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The images of the release to go back to, in files of that release: ``docker system prune --all`` takes every image that
nothing runs, and with it the way back.

A file is named by its image, has its checksum in ``images.json``, and is there whole or not at all.  It goes with its
release; of all releases only the one to go back to has any.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...base.errors import BadInput
from ...base.host.detached import go_on_detached
from ...base.host.files import private_directory, read_json, write_private
from ...base.host.part_files import PART, NoRoom, Part, checksum, part_of
from ...engine.host.engine import Engine, EngineFailed
from ...operation.host import left_behind
from ...operation.host.journal import Fence, working
from ...operation.options import LockOptions
from .. import archives, choice
from .kept_images import parts_of
from .retention import Act, Used, generated
from .store import Store

_MARK = "evenkeel-images-1"
_FOLDER, _MANIFEST = os.path.join(".evenkeel", "images"), "images.json"
# Seconds count, not bytes: 338 MB of images became 142 MB in 7 s (measured).
_LEVEL = 1


class Archive:
    """The archive of one release.

    :param tree: the release's folder.
    """

    def __init__(self, tree: str) -> None:
        self.folder = os.path.join(tree, _FOLDER)

    def path(self, name: str) -> str:
        """Where a file of the archive is."""
        return os.path.join(self.folder, name)

    def free(self) -> int:
        """Bytes that may still be written."""
        return self.disk()[0]

    def disk(self) -> tuple[int, int]:
        """Free bytes, and all of them."""
        found = os.statvfs(self.folder if os.path.isdir(self.folder) else os.path.dirname(os.path.dirname(self.folder)))
        return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize

    def note(self, name: str, manifest: dict[str, Any]) -> None:
        """Write down what a file is, before it gets its name."""
        files = {**self.files(), name: manifest}
        write_private(self.path(_MANIFEST), json.dumps({"made_by": _MARK, "files": files}, indent=1, sort_keys=True))

    def files(self) -> dict[str, dict[str, Any]]:
        """What is noted of each file, whether it is there or not."""
        known = read_json(self.path(_MANIFEST))
        found = known.get("files") if known.get("made_by") == _MARK else None
        return {n: dict(m) for n, m in found.items()} if isinstance(found, dict) else {}

    def whole(self) -> dict[str, dict[str, Any]]:
        """The files that are there in their length, by the image that each has."""
        found = {}
        for name, known in self.files().items():
            path = self.path(name)
            ours = name == _name_of(str(known.get("image"))) and os.path.isfile(path)
            if ours and os.path.getsize(path) == known.get("bytes"):
                found[str(known["image"])] = {**known, "file": name}
        return found

    def sweep(self, wanted: Sequence[str]) -> bool:
        """Take away what a killed run has left, and images that are not wanted any more; whether anything went."""
        keep = {_MANIFEST, *(_name_of(image) for image in wanted)}
        gone = [n for n in _listed(self.folder) if n not in keep]
        for name in gone:
            os.unlink(self.path(name))
        return any(not n.endswith(PART) for n in gone)

    def clear(self) -> bool:
        """Take all of it away; returns whether there was any."""
        there = os.path.isdir(self.folder)
        if there:
            shutil.rmtree(self.folder)
        return there


def _listed(folder: str) -> list[str]:
    return os.listdir(folder) if os.path.isdir(folder) else []


def _name_of(image: str) -> str:
    return f"{image.rpartition(':')[2][:24]}.tar.gz"


class _Feed:
    """What gzip writes to: a part that counts and sums."""

    def __init__(self, part: Part) -> None:
        self._part = part

    def write(self, data: bytes) -> int:
        self._part.write(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""


def names_of(store: Store, release: str) -> list[str]:
    """The names of all images of a release's services, jobs included; a digest is no name that could be given again."""
    services = generated(store, release).get("services") or {}
    names = {str(s.get("image") or "") for s in services.values() if isinstance(s, dict)}
    return sorted(n for n in names if n and "@" not in n)


@dataclass(frozen=True)
class Request:
    """The images of which release are kept in files.

    :ivar path: the app's folder, in which releases are.
    :ivar release: the one to go back to where none is named.
    :ivar policy: see ``releases/archives.py``.
    :ivar wait: for the files to be written; otherwise that is done by a process that is left behind.
    """

    lock: LockOptions
    path: str
    release: str = ""
    policy: str = archives.AUTO
    wait: bool = True


def keep_archive(request: Request, check_mode: bool) -> dict[str, Any]:
    """Archive the images of a release: nothing that serves depends on it, so what goes wrong is only told.

    :raises BadInput: there is no such release, or no engine.
    """
    store, policy = Store(request.path), request.policy
    known = store.all()
    release = request.release or choice.rollback_target(known, store.current())
    if release and release not in {r.id for r in known}:
        raise BadInput(
            f"there is no release {release} in {store.folder}", f"there are: {', '.join(r.id for r in known)}"
        )
    try:
        engine, used = Engine(timeout=600), Used.seen(store)
    except EngineFailed as error:
        raise BadInput(str(error), "nothing depends on it; run it again when the engine answers") from error
    state_dir = store.state_dir(request.lock)
    if check_mode:
        return archive_images(store, engine, used, release, policy, None)
    with working(request.lock, state_dir, f"image_archive of {store.root}") as fence:
        if request.wait:
            with left_behind.alone(state_dir):
                return fence.reported(archive_images(store, engine, used, release, policy, fence.act))
        report = archive_images(store, engine, used, release, policy, fence.act, later=True)
        begun = is_being_written(store, state_dir, release)
        report["changed"] = (report["changed"] and not begun) or bool(report["removed"])
        fence.reported(report)
    if report["later"] and not begun:
        go_on_detached(lambda: _write_later(request.path, state_dir, release, policy))
    return report


def is_being_written(store: Store, state_dir: str, release: str) -> bool:
    """Whether a process that was left behind is writing the archive of a release now."""
    parts = [n for n in _listed(Archive(store.path_of(release)).folder) if n.endswith(PART)] if release else []
    return bool(parts) and left_behind.goes_on(state_dir)


def _write_later(path: str, state_dir: str, release: str, policy: str) -> None:
    """Write what is due by then, after others who do the same; what goes wrong is left to the next operation and to status."""
    with left_behind.alone(state_dir):
        store = Store(path)
        if release != choice.rollback_target(store.all(), store.current()):
            # An operation has passed by meanwhile, and has begun another one.
            return
        engine, used = Engine(timeout=600), Used.seen(store)
        archive_images(store, engine, used, release, policy, lambda _what: contextlib.nullcontext())


def archive_images(
    store: Store, engine: Engine, used: Used, release: str, policy: str, act: Act | None, later: bool = False
) -> dict[str, Any]:
    """Archive the images of one release, and take away the archives of the others.

    :param policy: see ``releases/archives.py``.
    :param act: what each act is done under; None to only say what would be done.
    :param later: leave the files to somebody else, and say so (``later``).
    """
    report: dict[str, Any] = {
        "changed": False,
        "release": release,
        "archived": [],
        "removed": [],
        "bytes": 0,
        "msg": "",
        "notes": [],
        "later": False,
    }
    for other in store.all():
        archive = Archive(store.path_of(other.id))
        if (other.id != release or policy == archives.NEVER) and os.path.isdir(archive.folder):
            report["removed"].append(other.id)
            if act:
                with act(f"take away the images of {other.id}"):
                    archive.clear()
    report["changed"] = bool(report["removed"])
    if not release or policy == archives.NEVER:
        return report
    archive, names = Archive(store.path_of(release)), names_of(store, release)
    ids = {name: str(engine.image(name).get("Id") or "") for name in names}
    wanted = archives.to_archive(ids, used.images)
    there = archive.whole()
    # What is gone from the host is what the archive is for.
    lost = {name for name, identity in ids.items() if not identity}
    rescued = {i: k for i, k in there.items() if lost & set(k.get("names") or ())}
    due = {i: n for i, n in wanted.items() if i not in there or not set(n) <= set(there[i].get("names") or ())}
    problem = ""
    if due:
        problem = _problem(archive, engine, due, policy)
        report["later"] = later and not problem
        if act and not later and not problem:
            problem = _written(archive, engine, due, policy, [*wanted, *rescued], act, report)
        to_come = not problem and (later or act is None)
        report["changed"] = bool(report["changed"] or report["archived"] or to_come)
        there = archive.whole()
    elif act:
        with act(f"look through the images of {release}"):
            report["changed"] = archive.sweep([*wanted, *rescued]) or report["changed"]
    missing = sorted(lost - {n for k in rescued.values() for n in k["names"]} - _not_needed(used, lost))
    report["bytes"] = sum(int(k["bytes"]) for k in there.values())
    report["msg"] = archives.sentence(release, missing, report["bytes"], problem, report["later"])
    report["notes"] = [report["msg"]] if missing or problem else []
    return report


def _not_needed(used: Used, names: set[str]) -> set[str]:
    """Of two names of an image that runs ``prune --all`` may take one: what runs need not be created anew for that."""
    running = used.engine.running() if used.engine and names else []
    return names & {str(c.get("Image") or "") for c in running}


def _problem(archive: Archive, engine: Engine, due: Mapping[str, Sequence[str]], policy: str) -> str:
    """Why what is due cannot be written, empty where it can."""
    free, total = archive.disk()
    problem = archives.no_room(policy, sum(int(engine.image(image).get("Size") or 0) for image in due), free, total)
    return f"they are not archived: {problem} (app_image_archive)" if problem else ""


def _written(
    archive: Archive,
    engine: Engine,
    due: Mapping[str, Sequence[str]],
    policy: str,
    wanted: Sequence[str],
    act: Act,
    report: dict[str, Any],
) -> str:
    """Write what is due; returns why that could not be, empty where it could."""
    total = archive.disk()[1]
    try:
        private_directory(archive.folder)
        with act("begin the archive of images"):
            archive.sweep([i for i in wanted if i not in due])
        for image, names in due.items():
            began = time.monotonic()
            with part_of(archive, _name_of(image), archives.spare(policy, total)) as part:
                # Without a name and a time inside: the same image gives the same bytes.
                with gzip.GzipFile("", "wb", _LEVEL, _Feed(part), 0) as packed:
                    for chunk in engine.parts("get_image", names[0]):
                        packed.write(chunk)
                part.sync()
                manifest = {"image": image, "names": list(names), "bytes": part.size, "sha256": part.sha256}
                with act(f"keep the archive of {names[0]}"):
                    part.keep(manifest)
            seconds = round(time.monotonic() - began, 1)
            report["archived"].append({**manifest, "seconds": seconds})
    except (NoRoom, EngineFailed, BadInput, OSError) as error:
        return f"they are not archived: {error}"
    return ""


# -- back ---------------------------------------------------------------------------------------------------------


def in_archive(tree: str, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Of images that are gone from the host those that a release's archive has, each proven by its checksum.

    :returns: name → what is noted of its file.
    :raises BadInput: a file is damaged; it is named.
    """
    archive, found = Archive(tree), {}
    noted = {str(name): (file, known) for file, known in archive.files().items() for name in known.get("names") or ()}
    proven: set[str] = set()
    for name in names:
        file, known = noted.get(name, ("", {}))
        path = archive.path(file)
        if not known or file != _name_of(str(known.get("image"))) or not os.path.isfile(path):
            continue
        if file not in proven and checksum(path) != known.get("sha256"):
            raise BadInput(
                f"{name} is not on this host any more, and its archive {path} is damaged: it is not what was written",
                "update to that revision (update_version), which builds it anew; or remove that file and load the image",
            )
        proven.add(file)
        found[name] = {**known, "path": path}
    return found


def bring_back(engine: Engine, found: Mapping[str, Mapping[str, Any]], fence: Fence) -> None:
    """Load images from an archive and give them all their names again.

    :param found: see :func:`in_archive`.
    :raises BadInput: one cannot be loaded.
    """
    for path, known in {str(k["path"]): k for k in found.values()}.items():
        image, names = str(known["image"]), [str(n) for n in known["names"]]
        try:
            with fence.act(f"load {names[0]} from its archive"):
                if not engine.image(image):
                    with open(path, "rb") as stream:
                        for line in engine.parts("load_image", stream):
                            if line.get("error"):
                                raise EngineFailed(str(line["error"]))
                if not engine.image(image):
                    raise EngineFailed("it holds another image than was written down")
                for name in names:
                    if not engine.image(name):
                        engine.tag(image, *parts_of(name))
        except EngineFailed as error:
            raise BadInput(
                f"{names[0]} is not on this host any more, and its archive {path} cannot be loaded: {error}",
                "update to that revision (update_version), which builds it anew",
            ) from error
