# SPDX-License-Identifier: GPL-3.0-or-later
"""A front-end build as npm's tools do it: empty the folder, write the page, then assets named by their content.

The worst order there is, and slowly where ``BUILD_SECONDS`` says so: whoever serves ``dist`` meanwhile serves it half done.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import time
from pathlib import Path

SOURCE, DIST = Path("src"), Path("dist")
CHUNKS, FILLING = 12, 600


def write(path: Path, content: bytes) -> None:
    """A file and its compressed twin, in two pieces each."""
    for target, data in ((path, content), (path.with_name(path.name + ".gz"), gzip.compress(content, mtime=0))):
        with target.open("wb") as stream:
            stream.write(data[: len(data) // 2])
            stream.flush()
            time.sleep(float(os.environ.get("BUILD_SECONDS") or 0) / (4 * CHUNKS))
            stream.write(data[len(data) // 2 :])


def main() -> None:
    for entry in DIST.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    (DIST / "assets").mkdir()
    code = (SOURCE / "app.js").read_text(encoding="utf-8")
    chunks = [f"/* part {n} */ {code}{f'// {n} {code}' * FILLING}".encode() for n in range(CHUNKS)]
    names = [f"assets/app-{hashlib.sha256(chunk).hexdigest()[:12]}.js" for chunk in chunks]
    scripts = "\n".join(f'<script src="{name}"></script>' for name in names)
    page = (SOURCE / "index.html").read_text(encoding="utf-8").replace("<!-- scripts -->", scripts)
    write(DIST / "index.html", page.encode())
    for name, chunk in zip(names, chunks):
        write(DIST / name, chunk)
        print(f"built {name}")


main()
