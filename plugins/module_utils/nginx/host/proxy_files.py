# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a proxy mounts out of a release's tree: it lies at one path for ever, so that a new release needs no new nginx.

``nginx_reload`` brings the files of a release there; only where there are none yet are they put there before.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from typing import Any

from ...base.errors import BadInput
from ...base.host.directory_handles import (
    LinkMet,
    give_away,
    make_below,
    open_below,
    open_folder,
    open_inside,
    put_in_place,
    read_file,
    remove_below,
    way_inside,
    write_below,
    write_beside,
)
from ...base.secret_values import MARK
from ...engine.definition import LIVE
from ..include import FOLDER

_MAKING = ".evenkeel-making"


def place_first(live: Mapping[str, Mapping[str, str]], root: str) -> bool:
    """Put files of a release where a proxy mounts them from, where there are none yet.

    :param live: service → path in the tree → path it is mounted from.
    :param root: the release's folder.
    :returns: whether anything was put there.
    :raises BadInput: a file is to be where a folder is, or the other way round.
    """
    fresh = False
    for paths in live.values():
        for source, target in paths.items():
            if os.path.lexists(target):
                if os.path.isdir(target) != os.path.isdir(source):
                    raise BadInput(
                        f"{source[len(root) + 1 :]} is a {'folder' if os.path.isdir(source) else 'file'} in this revision, and "
                        f"was the other before ({target})",
                        "give it another name in the repository",
                    )
                continue
            _place(root, source[len(root) + 1 :], target)
            fresh = True
    return fresh


def _place(root: str, inside: str, target: str) -> None:
    above, name = os.path.split(target)
    with open_folder(root) as tree, open_folder(above, make=0o755) as folder:
        for left in os.listdir(folder):
            # By a call that was killed.
            if left.startswith(_MAKING):
                with contextlib.suppress(OSError):
                    remove_below(folder, left)
        if not os.path.isdir(os.path.join(root, inside)):
            _copy(tree, inside, folder, name)
            return
        making = f"{_MAKING}-{secrets.token_hex(8)}"
        with make_below(folder, making) as made:
            for path in _tree_files(tree, inside):
                parent, own = os.path.split(path)
                with open_below(made, parent, make=0o755) as beside:
                    _copy(tree, f"{inside}/{path}", beside, own)
            give_away(made, None, 0o755)
        os.rename(making, name, src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)


def _copy(tree: int, inside: str, folder: int, name: str) -> None:
    with _refused(inside), open_inside(tree, inside) as stream:
        mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
        put_in_place(folder, write_beside(folder, stream, mode), name)


@contextlib.contextmanager
def _refused(inside: str) -> Iterator[None]:
    """Refuse what leads out of a revision: whoever may push would have the proxy publish the server's own files."""
    try:
        yield
    except LinkMet as error:
        raise BadInput(
            f"{inside} is a link that leads out of the revision, and is not followed",
            "commit the file itself in its place",
        ) from error


def bring(root: str, project: Mapping[str, Any], service: str, check_mode: bool) -> bool:
    """Bring a release's files to where a proxy that does not run mounts them from; returns whether any differs."""
    definition = project["services"][service]
    sources = {str(v.get("target")): str(v.get("source")) for v in definition.get("volumes") or []}
    changed = False
    for dest, content in files_of(root, project, service).items():
        target = max((t for t in sources if dest == t or dest.startswith(f"{t}/")), key=len)
        path = os.path.normpath(os.path.join(sources[target], os.path.relpath(dest, target)))
        before = None
        with contextlib.suppress(OSError):
            before = read_file(path)
        if before == content:
            continue
        changed = True
        if not check_mode:
            put(path, content)
    return changed


def put(path: str, content: bytes | None) -> None:
    """Write a file so that it is whole at any moment, with the mode of the one before; None takes it away."""
    above, name = os.path.split(path)
    with open_folder(above, make=None if content is None else 0o755) as folder:
        if content is None:
            os.unlink(name, dir_fd=folder)
            os.fsync(folder)
            return
        mode = 0o644
        with contextlib.suppress(FileNotFoundError):
            known = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
            mode = stat.S_IMODE(known) if stat.S_ISREG(known) else mode
        write_below(folder, name, content, mode)


def files_of(root: str, project: Mapping[str, Any], service: str, strangers: bool = False) -> dict[str, bytes | None]:
    """Each file that a release has for a proxy, as the proxy sees it, and None for those it does not have any more.

    What no release ever had is the server's own, such as certificates that git ignores, and stays.

    :param root: the release's folder; beside it are the others.
    :param project: its generated project.
    :param strangers: None for files as well that no release had, in folders that this one has.
    """
    definition = project["services"][service]
    sources = {str(v.get("target")): str(v.get("source")) for v in definition.get("volumes") or []}
    others = [other.path for other in os.scandir(os.path.dirname(root)) if other.path != root and other.is_dir()]
    found: dict[str, bytes | None] = {}
    for target, inside in sorted(((project.get(MARK) or {}).get(LIVE) or {}).get(service, {}).items()):
        wanted = os.path.join(root, inside)
        for name in _files_in(sources[target]):
            had = any(os.path.lexists(os.path.normpath(os.path.join(other, inside, name))) for other in others)
            if had or (strangers and os.path.lexists(wanted)):
                found[os.path.normpath(os.path.join(target, name))] = None
        with open_folder(root) as tree:
            for name in _tree_files(tree, inside):
                path = os.path.normpath(os.path.join(inside, name))
                with _refused(path), open_inside(tree, path) as stream:
                    found[os.path.normpath(os.path.join(target, name))] = stream.read()
    return found


def _tree_files(tree: int, path: str, above: frozenset[int] = frozenset()) -> Iterator[str]:
    """The files of a folder of a revision by their names in it, or ``.`` for a file.

    Links are gone through inside the revision; those that lead nowhere are left out.

    :raises BadInput: one leads out of it.
    """
    with _refused(path), contextlib.suppress(FileNotFoundError), way_inside(tree, path) as (folder, name):
        known = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISREG(known.st_mode):
            yield "."
        # A link may lead to a folder that it lies in.
        if not stat.S_ISDIR(known.st_mode) or known.st_ino in above:
            return
        with open_below(folder, name) as inside:
            for entry in sorted(os.listdir(inside)):
                if entry != FOLDER and not entry.startswith(".evenkeel-"):
                    below = _tree_files(tree, f"{path}/{entry}", above | {known.st_ino})
                    yield from (os.path.normpath(f"{entry}/{found}") for found in below)


def _files_in(path: str) -> Iterator[str]:
    """The names of what lies where a proxy mounts it from, as :func:`_tree_files`."""
    if not os.path.isdir(path):
        if os.path.isfile(path):
            yield "."
        return
    for folder, folders, names in os.walk(path):
        folders[:] = [n for n in folders if n != FOLDER]
        for name in names:
            full = os.path.join(folder, name)
            if not name.startswith(".evenkeel-") and os.path.isfile(full):
                yield os.path.relpath(full, path)
