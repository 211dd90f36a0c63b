# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One more layer on an image that runs: files of the tree over those it has, with the owner and mode that they have there.

No build: that would need its base's name, which may mean another image by now, and take longer than all the rest.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import posixpath
import secrets
import tarfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...base.host.directory_handles import open_below, open_file, open_folder
from ...engine.host.container_files import ContainerFiles, TooMuch, image_files
from ...engine.host.engine import DockerException, Engine, EngineFailed, NotFound, RequestException
from ...git.changes import Change
from .. import hotfix

#: Labels of such an image.
NAME_LABEL, BASE_LABEL, COMMIT_LABEL, FILES_LABEL, IMAGE_LABEL = (
    f"evenkeel.hotfix.{word}" for word in ("name", "base", "commit", "files", "image")
)


@dataclass(frozen=True)
class Place:
    """Where a file goes in an image, whose it is there, and its permissions."""

    path: str
    uid: int = 0
    gid: int = 0
    mode: int = 0o644


def places(
    engine: Engine, image: str, project: str, tree: str, known: Sequence[str], changes: Sequence[Change]
) -> dict[str, Place]:
    """For each changed file that an image has as the running revision does where it is in there; of new ones where they go.

    :param tree: folder of the running release.
    :param known: every path of its revision.
    :raises EngineFailed: the image cannot be read.
    """
    folder = str((engine.image(image).get("Config") or {}).get("WorkingDir") or "/")
    found = {}
    with image_files(engine, image, project) as files:
        for change in (c for c in changes if c.status in ("A", "M")):
            place = _of_new(files, folder, tree, known, change) if change.status == "A" else _of_old(
                files, folder, tree, change.path)  # fmt: skip
            if place:
                executable = 0o111 if change.mode == "100755" else 0
                mode = (place.mode & ~0o111) | executable if change.mode != change.before else place.mode
                found[change.path] = Place(place.path, place.uid, place.gid, mode)
    return found


def _of_old(files: ContainerFiles, folder: str, tree: str, path: str) -> Place | None:
    """Where a file is, by its content; there may be an other one of that name."""
    content = plain_file(tree, path)
    for at in hotfix.places_in_image(path, folder) if content is not None else ():
        with contextlib.suppress(TooMuch):
            seen = files.whole(at)
            if seen and seen[1] == content:
                return Place(at, seen[0].uid, seen[0].gid, seen[0].mode & 0o7777)
    return None


def _of_new(files: ContainerFiles, folder: str, tree: str, known: Sequence[str], change: Change) -> Place | None:
    for neighbour in hotfix.neighbours(change.path, known):
        # An empty one, such as __init__.py, is like many others; its path alone would have to tell.
        place = _of_old(files, folder, tree, neighbour) if plain_file(tree, neighbour) else None
        at = hotfix.folder_of_new(change.path, neighbour, place.path) if place else ""
        if place and at:
            return Place(at, place.uid, place.gid, 0o755 if change.mode == "100755" else 0o644)
    return None


def plain_file(tree: str, path: str, largest: int = 8 * 1024 * 1024) -> bytes | None:
    """A file of a release's tree, None where it is none or lies behind a link."""
    folder, name = os.path.split(path)
    try:
        with open_folder(os.path.realpath(tree)) as top, open_below(top, folder) as inside:
            file = open_file(name, inside)
    except OSError:
        return None
    with file as stream:
        return stream.read() if os.fstat(stream.fileno()).st_size <= largest else None


def sums_of(files: Mapping[str, bytes]) -> dict[str, str]:
    """path → SHA-256."""
    return {path: hashlib.sha256(content).hexdigest() for path, content in sorted(files.items())}


def labels_of(name: str, base: str, commit: str, image: str, sums: Mapping[str, str]) -> dict[str, str]:
    """What tells of such an image what it is."""
    total = hashlib.sha256("\n".join(f"{p} {s}" for p, s in sorted(sums.items())).encode()).hexdigest()
    return {NAME_LABEL: name, BASE_LABEL: base, COMMIT_LABEL: commit, IMAGE_LABEL: image, FILES_LABEL: total}


def is_there(engine: Engine, reference: str, labels: Mapping[str, str]) -> bool:
    """Whether the image of a name is the very one that would be made."""
    have = (engine.image(reference).get("Config") or {}).get("Labels") or {}
    return all(have.get(key) == value for key, value in labels.items())


def layers_of(engine: Engine, image: str) -> int:
    """How many layers an image has."""
    return len((engine.image(image).get("RootFS") or {}).get("Layers") or ())


def make(
    engine: Engine, image: str, reference: str, files: Iterable[tuple[Place, bytes]], labels: Mapping[str, str],
    project: str,
) -> str:  # fmt: skip
    """Put files over those of an image, and give what comes of it a name; returns its id.

    The caller holds the lock.

    :param image: its id.
    :param reference: the new one's name.
    :raises EngineFailed: it could not be made; no container is left.
    """
    config = engine.image(image).get("Config") or {}
    if not config.get("Cmd") and not config.get("Entrypoint"):
        raise EngineFailed(f"the image {image[:19]} says nothing of what to run, so it cannot be built on")
    # No label tells whose it is: the image would have that too, and all containers of it.
    stem = f"evenkeel-hotfix.{project}."
    repository, _colon, tag = reference.rpartition(":")
    api: Any = engine.api
    container = ""
    try:
        for left in api.containers(all=True, filters={"name": [f"^/{stem}"], "status": ["created"]}):
            engine.remove(str(left["Id"]))
        wanted = {"Image": image, "HostConfig": {"NetworkMode": "none"}}
        container = str(api.create_container_from_config(wanted, f"{stem}{secrets.token_hex(6)}")["Id"])
        api.put_archive(container, "/", archive(files))
        # Names, commits and sums: nothing in them has to be quoted.
        changes = [f"LABEL {key}={value}" for key, value in sorted(labels.items())]
        made = api.commit(container, repository, tag, message="evenkeel hotfix", changes=changes)
        return str(made["Id"])
    except NotFound as error:
        raise EngineFailed(f"the image {image[:19]} is not on this host any more") from error
    except (DockerException, RequestException) as error:
        raise EngineFailed(f"no layer could be put on the image {image[:19]}: {error}") from error
    finally:
        if container:
            with contextlib.suppress(EngineFailed):
                engine.remove(container)


def archive(files: Iterable[tuple[Place, bytes]]) -> bytes:
    whole, now = io.BytesIO(), int(time.time())
    with tarfile.open(fileobj=whole, mode="w") as archive:
        for place, content in sorted(files, key=lambda f: f[0].path):
            entry = tarfile.TarInfo(posixpath.normpath(place.path).lstrip("/"))
            # Python compiles anew what is of another moment.
            entry.size, entry.mtime = len(content), now
            entry.uid, entry.gid, entry.mode = place.uid, place.gid, place.mode
            archive.addfile(entry, io.BytesIO(content))
    return whole.getvalue()
