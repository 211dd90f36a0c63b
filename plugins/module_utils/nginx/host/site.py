# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of one running nginx: reading them, trying candidates in a twin, installing them."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import shutil
import tarfile
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from ...base.host.directory_handles import copy_all, open_folder, read_file, write_below
from ...base.host.files import sync_directory
from ...engine.host.engine import Engine, EngineFailed
from .. import twin as twins
from ..syntax import split_dump
from .nginx import HostNginx, Master, Nginx, run_here

_TWIN_PATIENCE = 60.0
#: Seconds after which a trial container is removed as left over: no call takes that long.
TWIN_LIFE = 300.0
_NAME = "evenkeel-twin"

#: Path of a file as nginx sees it → its content, None for no such file.
Contents = Mapping[str, Optional[bytes]]


class SiteFailed(Exception):
    """The file cannot be read, tried or installed; ``advice`` is what to do about it."""

    def __init__(self, what: str, advice: str = "") -> None:
        super().__init__(what)
        self.advice = advice


@dataclass(frozen=True)
class Trial:
    """What a twin said about a candidate: ``output`` is nginx's own, and may hold secrets where ``ok``."""

    ok: bool
    output: str
    read: bool = True


class Site:
    """See the module's text.

    :ivar dest: the file as nginx sees it.
    :ivar path: the same file on this host, empty where no path leads to it.
    :ivar in_place: whether the container is bound to this very inode.
    """

    def __init__(self, master: Master, dest: str, path: str, in_place: bool) -> None:
        self.master = master
        self.dest = dest
        self.path = path
        self.in_place = in_place

    @property
    def name(self) -> str:
        """What the nginx is called."""
        return self.master.name

    def visible(self) -> bytes | None:
        """The content as nginx would read it now, None where there is no such file."""
        raise NotImplementedError

    def try_out(self, candidates: Contents) -> Trial:
        """Test the whole configuration with candidates in place, out of sight of the running nginx.

        :raises SiteFailed: the trial itself could not be made.
        """
        raise NotImplementedError

    def content(self) -> bytes | None:
        """The file's content on this host."""
        try:
            return read_file(self.path)
        except FileNotFoundError:
            return None

    def changed_at(self) -> float:
        """When the file was changed, put there or taken away last (UNIX seconds), 0 when its folder is not there."""
        for path in (self.path, os.path.dirname(self.path)):
            with contextlib.suppress(OSError):
                return os.stat(path).st_ctime
        return 0.0

    def install(self, content: bytes | None) -> None:
        """Write the file so that nginx sees it, whole and on the disk; None takes it away.

        :raises OSError: a full disk, no permission; the old content is back then where it was written in place.
        """
        folder = os.path.dirname(self.path)
        if content is None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)
            sync_directory(folder)
        elif self.in_place:
            before = self.content() or b""
            try:
                overwrite(self.path, content)
            except OSError:
                overwrite(self.path, before)
                raise
        else:
            replace_file(self.path, content)

    def tidy(self) -> None:
        """Take away what a call that was killed left beside the file."""
        if not self.in_place:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(os.path.dirname(self.path), _beside(self.path)))

    def _judged(self, code: int, output: str, candidates: Contents) -> Trial:
        if code in (124, 126, 127):
            raise SiteFailed(f"the trial run of {self.name} could not be made: {output.strip()[:300]}")
        if code != 0:
            return Trial(False, output)
        # The proof that the candidate was tested, and not what it is to replace.
        wanted = (candidates.get(self.dest) or b"").decode("utf-8", "replace").rstrip("\n")
        read = {text.rstrip("\n") for path, text in split_dump(output).items() if self.is_dest(path)}
        return Trial(True, output, wanted in read)

    def is_dest(self, path: str) -> bool:
        """Whether a path that nginx names is the file."""
        return os.path.normpath(path) == self.dest


def overwrite(path: str, content: bytes) -> None:
    """Change a file's content and keep its inode: a rename over it would never be seen in the container."""
    folder, name = os.path.split(path)
    with open_folder(folder) as inside:
        handle = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=inside)
    try:
        done = 0
        while done < len(content):
            done += os.pwrite(handle, content[done:], done)
        os.ftruncate(handle, len(content))
        os.fsync(handle)
    finally:
        os.close(handle)


def replace_file(path: str, content: bytes) -> None:
    """Put a file in place by a rename, with mode and owner of the one before, else of the folder."""
    folder, name = os.path.split(path)
    with open_folder(folder, make=0o755) as handle:
        owner, mode = os.fstat(handle), 0o644
        with contextlib.suppress(FileNotFoundError):
            owner = os.stat(name, dir_fd=handle, follow_symlinks=False)
            mode = owner.st_mode & 0o7777
        write_below(handle, name, content, mode, (owner.st_uid, owner.st_gid), _beside(name))


def _beside(path: str) -> str:
    # A leading dot: no `include *.conf` reads it before it is whole.
    # Always the same: what a killed call left is written over and not added to.
    return f".evenkeel-{os.path.basename(path)}"


class ContainerSite(Site):
    """A file of nginx in a container."""

    def __init__(self, engine: Engine, inspection: Mapping[str, Any], dest: str, project: str) -> None:
        self.engine = engine
        self.inspection = inspection
        self.project = project
        self.nginx = Nginx(engine, inspection)
        self.place = twins.place_of(dest, inspection.get("Mounts") or [])
        path = os.path.realpath(self.place.path) if self.place.kind == twins.FILE else self.place.path
        super().__init__(self.nginx, dest, path, self.place.kind == twins.FILE)

    def visible(self) -> bytes | None:
        return self.nginx.read(self.dest)

    @property
    def is_configuration(self) -> bool:
        """Whether nginx looks there for its configuration, and not only for what it hands out."""
        prefix = os.path.dirname(self.nginx.main_file())
        return os.path.commonpath([self.dest, prefix]) == prefix

    def refuse_to_install(self) -> None:
        """Say why the file cannot be changed so that it is seen and stays.

        :raises SiteFailed: it lies in the container's own layer or in memory, belongs to a release, is a link, or
            cannot be reached.
        """
        where = f"{self.dest} of {self.name}"
        if self.place.kind in (twins.LAYER, twins.MEMORY):
            read_only = bool((self.inspection.get("HostConfig") or {}).get("ReadonlyRootfs"))
            lost = "lies in memory" if self.place.kind == twins.MEMORY else "is part of the container itself"
            lost += ", which is read-only" if read_only else ": a change would be lost when it is created anew"
            raise SiteFailed(
                f"{where} {lost}",
                f"mount a folder of this host over {os.path.dirname(self.dest)} (volumes: in the Compose file), or build "
                f"the change into the image",
            )
        app = twins.owning_app(self.path) or twins.owning_app(os.path.realpath(self.path))
        if app:
            raise SiteFailed(
                f"{where} belongs to a release in {app}: it is a copy named by its content, which an edit would belie",
                f"commit the change and run the playbook update; or mount a folder under {app}/shared, which no release "
                f"owns",
            )
        folder = os.path.dirname(self.path)
        mounted = os.path.realpath(self.place.source)
        leaves = os.path.commonpath([os.path.realpath(folder), mounted]) != mounted
        if not self.in_place and (os.path.islink(self.path) or leaves):
            raise SiteFailed(f"{where} is a link, or lies behind one", "name the file itself as dest")
        reachable = self.path if self.in_place else folder
        if not os.access(reachable, os.W_OK if self.in_place else os.W_OK | os.X_OK):
            raise SiteFailed(f"{reachable} on this host cannot be written to", "run with become: true")
        if self.visible() != self.content():
            raise SiteFailed(
                f"{where} is not {self.path} of this host any more: that was replaced by a rename since {self.name} "
                f"started, and a container keeps what it was started with",
                "create the container anew (docker compose up -d --force-recreate, a gap), and mount the folder "
                "instead of the file",
            )

    def try_out(self, candidates: Contents) -> Trial:
        name = f"{_NAME}-{int(time.time())}-{secrets.token_hex(4)}"
        label = f"{twins.TWIN_LABEL}={self.project}"
        try:
            self.engine.remove_labelled(label, _is_young)
            mounts = [str(m.get("Destination")) for m in self.inspection.get("Mounts") or []]
            changes = list(self.engine.changed_paths(self.nginx.id))
            prefix = os.path.dirname(self.nginx.main_file())
            folders = twins.folders_to_copy(list(candidates), prefix, changes, mounts)
            archives = {}
            for folder in folders:
                present = self.engine.archive(self.nginx.id, folder)
                archives[folder] = with_candidates(present, folder, candidates)
            twin = twins.twin_of(self.inspection, folders, name, self.project, self.nginx.options())
            try:
                code, output = self.engine.run_to_end(name, twin.configuration, twin.networks, archives, _TWIN_PATIENCE)
            finally:
                self.engine.remove_volumes(twin.volumes.values())
        except EngineFailed as error:
            raise SiteFailed(f"the trial run of {self.name} could not be made: {error}") from error
        return self._judged(code, output, candidates)


def _is_young(name: str) -> bool:
    """Whether a twin or its volume may belong to a call that runs now."""
    words = name.split("-")
    return len(words) > 2 and words[2].isdecimal() and time.time() - int(words[2]) < TWIN_LIFE


def with_candidates(archive: bytes, folder: str, candidates: Contents) -> bytes:
    """The archive of a folder, its own name taken off, with the candidates in their places."""
    mine = {os.path.relpath(d, folder): c for d, c in candidates.items() if os.path.commonpath([d, folder]) == folder}
    top = os.path.basename(folder)
    known = {name: _entry(name) for name in mine}
    result = io.BytesIO()
    with tarfile.open(fileobj=result, mode="w") as out:
        with tarfile.open(fileobj=io.BytesIO(archive)) if archive else _nothing() as present:
            for member in present:
                source = present.extractfile(member) if member.isreg() else None
                name = member.name[len(top) :].strip("/")
                if name in mine:
                    if member.issym():
                        raise SiteFailed(f"{os.path.join(folder, name)} is a link", "name the file itself as dest")
                    known[name].mode, known[name].uid, known[name].gid = member.mode, member.uid, member.gid
                elif name and (member.isreg() or member.isdir() or member.issym() or member.islnk()):
                    member.name = name
                    if member.islnk():
                        member.linkname = member.linkname[len(top) :].strip("/")
                    out.addfile(member, source)
        for name, content in mine.items():
            if content is not None:
                known[name].size = len(content)
                out.addfile(known[name], io.BytesIO(content))
    return result.getvalue()


def _entry(name: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.mode = 0o644
    return entry


def _nothing() -> tarfile.TarFile:
    empty = io.BytesIO()
    tarfile.open(fileobj=empty, mode="w").close()
    return tarfile.open(fileobj=io.BytesIO(empty.getvalue()))


def sweep_temporary() -> None:
    """Remove the copies of configuration that killed calls of this user left."""
    with os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            if entry.name.startswith(f"{_NAME}-") and not _is_young(entry.name):
                with contextlib.suppress(FileNotFoundError):
                    if entry.stat(follow_symlinks=False).st_uid == os.geteuid():
                        # Another call may sweep it at this moment; what stays is met again, and is no reason to fail.
                        shutil.rmtree(entry.path, ignore_errors=True)


class HostSite(Site):
    """A file of this host's own nginx."""

    def __init__(self, dest: str) -> None:
        master = HostNginx()
        super().__init__(master, dest, os.path.realpath(dest), False)
        self._program = master.program

    def visible(self) -> bytes | None:
        return self.content()

    def is_dest(self, path: str) -> bool:
        # sites-enabled/x is a link to sites-available/x, and nginx may be told of either.
        return os.path.realpath(path) == self.path

    def try_out(self, candidates: Contents) -> Trial:
        """The twin is a process whose own mount namespace has a copy of the folder with the candidate in it."""
        folder = os.path.dirname(self.path)
        sweep_temporary()
        temporary = tempfile.mkdtemp(prefix=f"{_NAME}-{int(time.time())}-")
        try:
            copy = os.path.join(temporary, "folder")
            with open_folder(folder) as live, open_folder(copy, make=0o755) as copied:
                copy_all(live, copied)
                write_below(copied, os.path.basename(self.path), candidates[self.dest] or b"", 0o644)
            script = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'
            inner = [self._program, *self.master.options(), "-T"]
            argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", copy, folder, *inner]
            code, output = run_here(argv, errors_too=False, timeout=_TWIN_PATIENCE)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        if code != 0 and "[emerg]" not in output and "nginx:" not in output:
            raise SiteFailed(
                f"the trial run of {self.name} could not be made: {output.strip()[:300]}", "run with become: true"
            )
        return self._judged(code, output, candidates)
