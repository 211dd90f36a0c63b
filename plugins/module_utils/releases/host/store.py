# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder of releases under ``app_root`` and its ``current`` link."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import pwd
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable

from ...base.errors import BadInput
from ...base.host.directory_handles import (
    LinkMet,
    Owner,
    give_away,
    make_below,
    open_below,
    open_folder,
    read_file,
    remove_below,
)
from ...base.host.files import read_json, secret_key, sync_directory, write_private_below, write_private_somehow
from ...operation.host.state_folder import where
from ...operation.options import LockOptions
from .. import choice
from ..layout import CURRENT, MIRROR, NEXT, RELEASES, SHARED, Layout, shared_link

_MAKING = ".making-"
#: What is to be left on the disk for everybody else: bytes, and files.
SPARE_BYTES, SPARE_FILES = 64 * 2**20, 1000
_OURS, _MANIFEST = ".evenkeel", "manifest.json"


class Store:
    """The releases of one app.

    :param root: ``app_root``, absolute.
    :param owner: user to whom trees belong, empty for the present one.
    """

    def __init__(self, root: str, owner: str = "") -> None:
        self.root = root
        self.owner = owner
        self.layout = Layout(root)
        self.folder = self.layout.releases

    def path_of(self, release: str) -> str:
        """A release's folder."""
        return os.path.join(self.folder, release)

    def manifest(self, release: str) -> dict[str, Any]:
        """A release's manifest, empty when it has none."""
        return read_json(os.path.join(self.path_of(release), _OURS, _MANIFEST))

    def note(self, release: str, **news: Any) -> bool:
        """Write something into a release's manifest; returns whether that changed it."""
        path = os.path.join(self.path_of(release), _OURS, _MANIFEST)
        return write_private_somehow(path, _as_text({**self.manifest(release), **news}))

    def refuse_without_room(self, size: int, files: int) -> None:
        """Look whether a tree of so many bytes and files fits beside the others.

        :raises BadInput: it does not.
        """
        disk = os.statvfs(self.folder)
        free, nodes = disk.f_bavail * disk.f_frsize, disk.f_favail
        advice = "make room (app_keep_releases says how many releases are left), then run the same command again"
        if size + SPARE_BYTES > free:
            raise BadInput(
                f"{self.folder} has {free // 2**20} MiB free, the new release takes {size // 2**20} MiB, and "
                f"{SPARE_BYTES // 2**20} MiB are to be left",
                advice,
            )
        # File systems that make inodes as they need them say that they have none at all.
        if disk.f_files and files + SPARE_FILES > nodes:
            raise BadInput(
                f"{self.folder} has room for {nodes} more files, the new release has {files}, and {SPARE_FILES} are to be left",
                advice,
            )

    def all(self) -> list[choice.Release]:
        """Every whole release."""
        names = sorted(os.listdir(self.folder)) if os.path.isdir(self.folder) else []
        manifests = {n: self.manifest(n) for n in names if choice.is_id(n)}
        return [
            choice.Release(
                n,
                str(m["revision"]),
                str(m.get("state")),
                float(m.get("verified") or 0),
                bool(m.get("pinned")),
                str(m.get("inputs") or ""),
                str(m.get("version") or ""),
                bool(m.get("came_back")),
                str(m.get("left_for") or ""),
            )
            for n, m in manifests.items()
            if m.get("revision")
        ]

    def state_dir(self, lock: LockOptions) -> str:
        """Where locks and records of the app are kept, as a call's ``state_dir`` says or beside its releases.

        :raises FilesFailed: somebody else could write there.
        """
        return where(self.wanted_state_dir(lock), self.former_state_dir)

    def wanted_state_dir(self, lock: LockOptions) -> str:
        """Where a call wants them to be kept: they may not have been moved there yet."""
        return lock.state_dir or self.former_state_dir

    @property
    def former_state_dir(self) -> str:
        """Where they were kept formerly, and are where nobody says another place."""
        return self.layout.former_state_dir

    def current(self, name: str = CURRENT) -> str:
        """The id that ``current``, or another link, points to, empty when there is none.

        :raises BadInput: it is no link of ours.
        """
        link = self.layout.link(name)
        advice = "move it away, or choose another app_root"
        if not os.path.islink(link):
            if os.path.lexists(link):
                raise BadInput(f"{link} is a real file or folder, not a link of this collection", advice)
            return ""
        target = os.readlink(link)
        folder, release = os.path.split(target)
        if folder not in (RELEASES, self.folder) or not choice.is_id(release):
            raise BadInput(f"{link} leads to {target}, which is no release of this collection", advice)
        return release

    def switch(self, release: str, moment: float = 0.0, name: str = CURRENT) -> bool:
        """Make ``current``, or another link, point to a release, atomically; returns whether it did not yet.

        :param moment: not before this UNIX time, to which everything but the rename itself is done.
        """
        if self.current(name) == release:
            return False
        for left in os.listdir(self.root):
            # What a run left that was killed between the two calls below; the lock says that none is between them now.
            if left.startswith(f".{name}-"):
                os.unlink(os.path.join(self.root, left))
        temporary = os.path.join(self.root, f".{name}-{secrets.token_hex(6)}")
        os.symlink(os.path.join(RELEASES, release), temporary)
        time.sleep(max(0.0, moment - time.time()))
        try:
            os.replace(temporary, self.layout.link(name))
        except OSError:
            os.unlink(temporary)
            raise
        sync_directory(self.root)
        return True

    def end_look(self, release: str) -> None:
        """Take the link ``next`` away where it points to a release: nobody has to look at that one any more."""
        if self.current(NEXT) == release:
            os.unlink(self.layout.link(NEXT))

    @property
    def _ids(self) -> Owner:
        user = pwd.getpwnam(self.owner) if self.owner else None
        return (user.pw_uid, user.pw_gid) if user else None

    def _own(self, folder: int) -> None:
        """A new folder is the owner's and readable for all, whatever the umask is: other users' services mount it."""
        give_away(folder, self._ids, 0o755)

    @contextlib.contextmanager
    def _opened(self, path: str, make: int | None = None) -> Iterator[int]:
        """A folder by a handle.

        :raises BadInput: the owner could exchange it, or something in it that is gone through.
        """
        try:
            with open_folder(path, make) as folder:
                yield folder
        except LinkMet as error:
            raise BadInput(
                f"{error.filename} below or on the way to {path} is a link that root did not make, and is not followed",
                "remove the link, or name the folder that it leads to as app_root",
            ) from error

    def make_folders(self) -> None:
        """``app_root`` and what stands in it, belonging to the owner."""
        with self._opened(self.root, make=0o755) as root:
            if set(os.listdir(root)) <= {_OURS}:
                # The lock's folder was made in it before it; a folder that a user made stays as it is.
                self._own(root)
            for name in (RELEASES, SHARED, MIRROR):
                with contextlib.suppress(FileExistsError), make_below(root, name) as made:
                    self._own(made)

    def create(
        self,
        export: Callable[[str], None],
        revision: str,
        version: str,
        shared: list[str],
        inputs: str = "",
        hotfixes: Sequence[Mapping[str, str]] = (),
    ) -> str:
        """Write a revision's tree as a new release: whole under its name, or not there at all.

        :param export: writes the tree into an empty folder, which only this user can enter.
        :param inputs: see :meth:`inputs_of`.
        :param hotfixes: those that it has on the revision of an update, oldest first, each with ``name base commit``.
        """
        with self._opened(self.folder) as folder:
            names = os.listdir(folder)
            for name in names:
                if name.startswith(_MAKING):
                    remove_below(folder, name)
            moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
            below = hotfixes[0]["base"] if hotfixes else revision
            release = choice.new_id(moment, below, names, len(hotfixes))
            news: dict[str, Any] = {"id": release, "revision": revision, "version": version, "shared": shared}
            if hotfixes:
                news["hotfixes"] = [dict(h) for h in hotfixes]
            news |= {"created": int(time.time()), "state": choice.PREPARING, "inputs": inputs}
            making = f"{_MAKING}{release}"
            try:
                # Nobody else comes in while it is filled, unless git, as the owner, fills it.
                with make_below(folder, making) as made:
                    export(os.path.join(self.folder, making))
                    with make_below(made, _OURS) as ours:
                        write_private_below(ours, _MANIFEST, _as_text(news))
                    for path in shared:
                        self._link_shared(made, path)
                    self._own(made)
                os.rename(making, release, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                with contextlib.suppress(OSError):
                    remove_below(folder, making)
                raise
            os.fsync(folder)
        return release

    def inputs_of(
        self,
        state_dir: str,
        shared: Sequence[str],
        others: Mapping[str, Any],
        instead: Mapping[str, bytes] | None = None,
    ) -> str:
        """A keyed hash of what a release is made from besides its tree: shared files, which may hold secrets, and more.

        Empty where there is nothing of the kind.

        :param instead: contents that shared files are going to have.
        """
        if not shared and not others:
            return ""
        named = json.dumps([sorted(shared), others], sort_keys=True)
        total = hmac.new(secret_key(state_dir), named.encode(), hashlib.sha256)
        known = instead or {}
        for path in sorted(shared):
            full = self.layout.shared_path(path)
            # What lies in a folder, such as uploads, goes on changing while it is shared.
            if os.path.isfile(full):
                total.update(hashlib.sha256(known.get(path, read_file(full))).digest())
        return total.hexdigest()[:32]

    @staticmethod
    def _link_shared(tree: int, path: str) -> None:
        folder, name = os.path.split(path)
        try:
            with open_below(tree, folder, make=0o755, like_above=True) as inside:
                os.symlink(shared_link(path), name, dir_fd=inside)
        except LinkMet as error:
            raise BadInput(
                f"the folder of {path} is a link in the revision", f"keep {path} in a folder of its own"
            ) from error
        except FileExistsError as error:
            raise BadInput(
                f"{path} is in the revision and in shared/ as well", f"remove {path} from git: it belongs to the server"
            ) from error


def _as_text(manifest: Mapping[str, Any]) -> str:
    return json.dumps(manifest, indent=1, sort_keys=True) + "\n"


def store_of(root: str, owner: str = "", shared: Sequence[str] = ()) -> Store:
    """The releases of an app.

    :param root: ``app_root``; ``owner`` is whose it is, empty for whoever runs this.
    :param shared: paths that have to be there in its folder ``shared``.

    :raises BadInput: the folder, the owner or a shared path cannot be used.
    """
    if not os.path.isabs(root) or ".." in root.split("/"):
        raise BadInput(f"path {root} must be absolute and without ..")
    if owner:
        try:
            pwd.getpwnam(owner)
        except KeyError as error:
            raise BadInput(f"there is no user {owner} on this host", "make the user, or set app_owner") from error
        me = pwd.getpwuid(os.geteuid()).pw_name
        if me not in ("root", owner):
            raise BadInput(
                f"{me} cannot run git as user {owner}", "run with become: true, or set app_owner to the one who runs"
            )
    for path in shared:
        problem = choice.problem_with_shared(path)
        if problem:
            raise BadInput(problem)
        there = Layout(root).shared_path(path)
        if not os.path.exists(there):
            raise BadInput(
                f"{there} is not there",
                f"put the server's own {path} there (mode 0600 where it holds secrets) and run this again; an app that runs "
                "already is taken over first, its environment included: ansible-playbook evenkeel.deploy.adopt",
            )
    return Store(root, owner)
