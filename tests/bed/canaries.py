# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets that stand nowhere else, and the places of a machine where one of them would show that it leaked."""

from __future__ import annotations

import base64
import errno
import os
import re
import secrets
import stat
import subprocess
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType

#: Seconds between two looks at the argument lists of all processes.
EACH = 0.05
#: Bytes that are read at a time; what is searched for is shorter than the part that two reads share.
_CHUNK, _SHARED = 1 << 22, 256
#: Folders in which programs leave files for a while.
TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm", "/run", os.path.expanduser("~/.ansible"))
LOGS = ("/var/log",)
#: What the engine itself keeps of containers while they run, for root alone.
ENGINES = (Path("/run/docker"), Path("/run/containerd"))


def made(names: Iterable[str]) -> dict[str, str]:
    """A value for each name, as people's generators make them."""
    return {name: secrets.token_hex(10) for name in names}


class Search:
    """Finds secrets in bytes: as they are, and in base64 wherever in the encoded text they begin.

    :param values: name → value.
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        forms = {form: name for name, value in values.items() for form in _forms(value)}
        self._names = forms
        self._pattern = re.compile(b"|".join(re.escape(form) for form in forms))
        self.hits: Counter[tuple[str, str]] = Counter()
        self.looked = 0

    def text(self, place: str, text: str) -> None:
        """Look into a text."""
        self.data(place, text.encode(errors="surrogateescape"))

    def data(self, place: str, data: bytes) -> None:
        """Look into bytes."""
        self.looked += len(data)
        self.hits.update((place, self._names[found]) for found in self._pattern.findall(data))

    def stream(self, place: str, chunks: Iterable[bytes]) -> None:
        """Look into a stream, also where two chunks meet."""
        before = b""
        for chunk in chunks:
            self.looked += len(chunk)
            found = {self._names[f] for f in self._pattern.findall(before + chunk)}
            self.hits.update((place, name) for name in found)
            before = chunk[-_SHARED:]

    def files(self, place: str, folder: Path, since: float = 0.0, but: Iterable[Path] = ()) -> None:
        """Look into the names and contents of the plain files below a folder.

        :param since: UNIX time; older ones are left out.
        :param but: folders and files that are left out.
        """
        left_out = set(but)
        for top, folders, files in os.walk(folder):
            folders[:] = [name for name in folders if Path(top, name) not in left_out]
            for path in (Path(top, name) for name in files if Path(top, name) not in left_out):
                self.text(f"name in {place}", str(path))
                try:
                    status = path.lstat()
                    if stat.S_ISREG(status.st_mode) and status.st_mtime >= since:
                        self.stream(f"{place}: {path.relative_to(folder)}", _read(path))
                except OSError as error:
                    # It is gone by now, or it is a handle of a namespace and no file.
                    if error.errno not in (errno.ENOENT, errno.EINVAL):
                        raise

    def images(self, ids: Iterable[str]) -> None:
        """Look into every layer, the configuration and the history of images."""
        wanted = sorted(set(ids))
        with subprocess.Popen(["docker", "save", *wanted], stdout=subprocess.PIPE) as saving:
            assert saving.stdout
            out = saving.stdout
            self.stream("image layers", iter(lambda: out.read(_CHUNK), b""))
        assert saving.returncode == 0, f"docker save ended with {saving.returncode}"


def _forms(value: str) -> Iterator[bytes]:
    """A value as it is, and the part of its base64 that does not depend on its neighbours, for each place modulo 3."""
    data = value.encode()
    yield data
    for before in range(3):
        padded = b"\0" * before + data
        whole = padded[: len(padded) // 3 * 3]
        # The characters that hold bits of what stands before it.
        yield base64.b64encode(whole)[-(-before * 8 // 6) :]


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        yield from iter(lambda: stream.read(_CHUNK), b"")


class ArgumentLists:
    """While it is entered, looks at the arguments of every process, those in containers included, each 50 ms."""

    def __init__(self, search: Search) -> None:
        self._search, self._end = search, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.looks = 0

    def __enter__(self) -> ArgumentLists:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(EACH):
            self.looks += 1
            for name in os.listdir("/proc"):
                if name.isdigit():
                    try:
                        arguments = Path("/proc", name, "cmdline").read_bytes()
                    except OSError:
                        continue
                    self._search.data(
                        f"arguments of {arguments.split(bytes(1))[0].decode(errors='replace')}", arguments
                    )
