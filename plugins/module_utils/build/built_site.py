# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether what a job built is a whole site that may be shown: pure, standard library only, since it runs in containers too.

It is held against the build before, of which it is a small change: what was wrong there already stops nothing.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from .asset_names import hash_in, is_twin

#: The part of the build before that a small change still leaves.
LEAST = 0.5
_PAGE = re.compile(r"\.html?$")
_NAMED = re.compile(r"""(?<![\w-])(?:src|href)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""", re.I)
_EXTERNAL = re.compile(r"^(?:[a-z][a-z0-9+.-]*:|//|#|$)|[{}<>$]", re.I)
_ASSET = re.compile(r"\.(?:m?js|css|json|webmanifest|woff2?|ttf|png|jpe?g|gif|svg|ico|webp|avif|wasm)$", re.I)
_MAP = re.compile(r"\.map$")
_HEX = re.compile(r"[0-9a-f]{8,32}")
_SHOWN = 5


@dataclass(frozen=True)
class Build:
    """A job's files beside those of the build before.

    :ivar sizes: path → bytes; ``before`` those of the build before, as they are served.
    :ivar pages: path of a page → its text; ``pages_before`` what is served in its place.
    :ivar live: every path that is served.
    :ivar replaced: paths that are served with other bytes now.
    :ivar fresh: whether anything in it differs from what is served.
    """

    sizes: Mapping[str, int]
    before: Mapping[str, int] = field(default_factory=dict)
    pages: Mapping[str, str] = field(default_factory=dict)
    pages_before: Mapping[str, str] = field(default_factory=dict)
    live: Collection[str] = ()
    replaced: Collection[str] = ()
    fresh: bool = True


def is_page(path: str) -> bool:
    """Whether a browser shows it."""
    return bool(_PAGE.search(path))


def problems(build: Build) -> list[str]:
    """Why it is not shown to anybody, empty where it may be."""
    found = []
    gone = sorted(p for p in build.before if is_page(p) and p not in build.sizes)
    if gone:
        found.append(f"{_some(gone)}: was in the build before and is not in this one")
    empty = sorted(p for p, text in build.pages.items() if not text.strip())
    if empty:
        found.append(f"{_some(empty)}: is empty")
    for page, text in sorted(build.pages.items()):
        known = named_in(build.pages_before.get(page, ""))
        if text.strip() and known and not named_in(text):
            found.append(f"{page} loads no file of the site any more")
        missing = sorted(n for n in named_in(text) - known if _is_missing(n, page, build))
        if missing:
            found.append(f"{page} names {_some(missing)}, which is not there")
    found += _shrunk(build)
    kept = sorted(p for p in build.replaced if is_surely_hashed(p))
    if kept:
        found.append(
            f"{_some(kept)}: has other bytes under the same hash, and browsers keep what they have by that name"
        )
    if not build.fresh:
        found.append(
            "nothing of it is another than what is served: nothing is built from what was changed, or it was built when the image "
            "was made"
        )
    return found


def named_in(page: str) -> set[str]:
    """What a page loads of its own site, as it is written there."""
    found = {next(filter(None, groups), "") for groups in _NAMED.findall(page)}
    return {n for n in found if not _EXTERNAL.search(n) and _ASSET.search(_path_in(n))}


def _path_in(reference: str) -> str:
    return unquote(re.split(r"[?#]", reference, maxsplit=1)[0])


def _is_missing(reference: str, page: str, build: Build) -> bool:
    """Whether a file is named that would be one of the build's, and is not there.

    Below which address it is served nobody knows here: of an absolute one each end may be the path in the folder.
    """
    path, there = _path_in(reference), {*build.sizes, *build.live}
    parts = [p for p in path.split("/") if p]
    ends = ["/".join(parts[i:]) for i in range(len(parts))]
    if any(end in there for end in ends):
        return False
    if not path.startswith("/"):
        return posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) not in there
    tops = {p.split("/", 1)[0] for p in build.sizes if "/" in p}
    # Others serve files as well, such as Django's own below /static/.
    return any(part in tops for part in parts[:-1])


def _shrunk(build: Build) -> list[str]:
    now, before = ({p: n for p, n in sizes.items() if _counts(p)} for sizes in (build.sizes, build.before))
    total, known = sum(now.values()), sum(before.values())
    if known and total < known * LEAST:
        return [f"it has {_size(total)}, less than half of the {_size(known)} before"]
    if len(before) > 1 and len(now) < len(before) * LEAST:
        return [f"it has {len(now)} files, less than half of the {len(before)} before"]
    return []


def _counts(path: str) -> bool:
    return not is_twin(path) and not _MAP.search(path)


def is_surely_hashed(path: str) -> bool:
    """Whether a file's name has a hash of its content, and not merely a version or a word with a digit."""
    digest = hash_in(path) if _counts(path) else ""
    mixed = digest.lower() != digest and digest.upper() != digest and any(c.isdigit() for c in digest)
    letters = any(c.isalpha() for c in digest)
    return bool(digest) and (mixed or (letters and bool(_HEX.fullmatch(digest))))


def _size(count: int) -> str:
    return f"{count / 1024:.0f} KiB" if count >= 1024 else f"{count} bytes"


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
