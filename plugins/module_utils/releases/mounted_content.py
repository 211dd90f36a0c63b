# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether what containers mount out of a tree is part of a version, the server's own data, or both in one folder.

A version brings what git has. What only the server has would be gone from view with the next one.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterable, Sequence

from ..engine.programs import BROKER, DATABASE, PROXY

VERSION, DATA, MIXED = "version", "data", "mixed"
#: What git needs to keep a folder that is empty otherwise.
PLACEHOLDERS = {".gitkeep", ".keep", ".gitignore", ".placeholder"}
#: A file of one of these is a whole database.
_STORE = re.compile(r"\.(sqlite3?|db|rdb|dbf)$")
#: What a version is for: it has to come with it.
_CODE = re.compile(
    r"\.(py|js|mjs|ts|jsx|tsx|vue|php|rb|go|java|html?|css|scss|conf|ya?ml|toml|ini|cfg|json|sh|template)$|(^|/)Dockerfile"
)
_SAMPLE = re.compile(r"[._-](sample|example|dist|template|default)\b")
#: What programs make again when it is gone.
_MADE_ANEW = re.compile(
    r"(^|/)(__pycache__|node_modules|\.git|\.idea|\.vscode|\.\w*cache|[^/]*\.egg-info|\.next|\.nuxt|\.output|htmlcov|logs?|tmp|run"
    r"|static\w*|collected\w*|dist|build)/|(^|/)(\.DS_Store|\.coverage|\.env[^/]*|celerybeat-schedule[^/]*)$"
    r"|\.(pyc|pyo|pid|sock|swp|log)$"
)


def worth_keeping(paths: Iterable[str]) -> list[str]:
    """Those of a folder's files that somebody would miss, sorted; a folder ends in ``/``."""
    found = {p for p in paths if not _MADE_ANEW.search(p) and posixpath.basename(p) not in PLACEHOLDERS}
    return sorted(found)


def is_store(path: str) -> bool:
    """Whether a file is a database, by its name: git may have one, and the server writes to it all the same."""
    return bool(_STORE.search(path))


def is_code(path: str) -> bool:
    """Whether a file is one that a version is for, by its name."""
    return bool(_CODE.search(path)) and not _SAMPLE.search(path)


def content_of(users: Sequence[tuple[str, bool]], known: Collection[str], own: Sequence[str]) -> str:
    """What a mounted file or folder is: ``VERSION``, ``DATA`` or ``MIXED``.

    :param users: the kind of each service that mounts it, and whether it may write there.
    :param known: the paths below it that the version has; the file itself is ``""``.
    :param own: what only the server has of it, see :func:`worth_keeping`.
    """
    if any(kind in (DATABASE, BROKER) and writes for kind, writes in users):
        return DATA
    # What a proxy may write to it does not: people leave :ro out.
    if not any(writes and (kind != PROXY or not known) for kind, writes in users):
        return VERSION
    if not known:
        return DATA
    if not own:
        return VERSION
    return MIXED if any(map(is_code, known)) else DATA


def named(own: Sequence[str], most: int = 4) -> str:
    """The first of them, and how many there are."""
    more = f" and {len(own) - most} more" if len(own) > most else ""
    return ", ".join(own[:most]) + more
