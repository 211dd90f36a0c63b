# SPDX-License-Identifier: GPL-3.0-or-later
"""Visitors of a front end: load the page, then all that it names, and later again what a page of long ago names."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import re
import threading
from dataclasses import dataclass, field
from types import TracebackType

_NAMED = re.compile(r'src="(assets/app-([0-9a-f]{12})\.js)"')


@dataclass
class Visitors:
    """Two visitors of ``/app/``, one of which takes compressed answers; everything that was not whole is in ``wrong``.

    :ivar pages: each page that was met, by its first asset, with how often.
    :ivar named_by_content: whether a name is the hash of what it names; otherwise a file is whole where it always is the same.
    """

    port: int
    named_by_content: bool = True
    visits: int = 0
    files: int = 0
    pages: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _threads: list[threading.Thread] = field(default_factory=list)
    _remembered: set[str] = field(default_factory=set)
    _met: dict[str, str] = field(default_factory=dict)

    def __enter__(self) -> Visitors:
        self._threads = [threading.Thread(target=self._walk, args=(packed,)) for packed in (False, True)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _walk(self, packed: bool) -> None:
        while not self._ended.wait(0.25):
            page = self._get("", packed)
            if page is None:
                continue
            named = _NAMED.findall(page.decode("utf-8", "replace"))
            with self._lock:
                self.visits += 1
                if len(named) != 12:
                    self.wrong.append(f"a page that names {len(named)} files")
                    continue
                self.pages[named[0][1]] = self.pages.get(named[0][1], 0) + 1
                self._remembered.update(path for path, _digest in named)
                # A page that was loaded long ago asks for its files only now.
                early = sorted(self._remembered)[self.visits % len(self._remembered) :][:3]
            for path in [*(path for path, _digest in named), *early]:
                self._check(path, packed)

    def _check(self, path: str, packed: bool) -> None:
        body = self._get(path, packed)
        digest = path.rpartition("-")[2][:12]
        with self._lock:
            self.files += 1
            if body is None:
                return
            seen = hashlib.sha256(body).hexdigest()[:12]
            if seen != (digest if self.named_by_content else self._met.setdefault(path, seen)):
                self.wrong.append(f"{path} is torn: {len(body)} bytes")

    def _get(self, path: str, packed: bool) -> bytes | None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", f"/app/{path}", headers={"Accept-Encoding": "gzip"} if packed else {})
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                raise ValueError(f"answered {answer.status}")
            return gzip.decompress(body) if answer.getheader("Content-Encoding") == "gzip" else body
        except (OSError, ValueError, http.client.HTTPException) as error:
            with self._lock:
                self.wrong.append(f"/app/{path}{' (gzip)' if packed else ''}: {error}")
            return None
        finally:
            connection.close()
