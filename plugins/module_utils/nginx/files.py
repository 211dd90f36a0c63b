# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Under which paths of a site an nginx serves a file, by its ``root`` and ``alias``: pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from .syntax import Directive


def addresses(tree: Sequence[Directive], file: str) -> list[str]:
    """The paths under which a file is served; what regular expressions and variables would make of it is left out.

    :param file: absolute, as nginx has it.
    """
    found: set[str] = set()
    for http in (d for d in tree if d.name == "http"):
        for server in (d for d in http.block or () if d.name == "server"):
            found.update(_in_block(server.block or (), "/", _root(server, _root(http, "")), file))
    return sorted(found)


def _root(block: Directive, outer: str) -> str:
    return next((d.words[1] for d in block.block or () if d.name == "root" and len(d.words) == 2), outer)


def _in_block(block: Sequence[Directive], prefix: str, root: str, file: str) -> Iterator[str]:
    alias = next((d.words[1] for d in block if d.name == "alias" and len(d.words) == 2), "")
    if alias:
        # What follows the location's own prefix is put behind it as it is.
        url = f"{prefix}{file[len(alias) :]}" if file.startswith(alias) else ""
    else:
        folder = root.rstrip("/")
        url = file[len(folder) :] if root and file.startswith(f"{folder}/") else ""
    if url.startswith(prefix) and not re.search(r"\$", alias or root):
        yield url
    for one in (d for d in block if d.name == "location" and len(d.words) > 1):
        if one.words[1] not in ("~", "~*") and not one.words[1].startswith("@"):
            # Only of a root the place further out goes on.
            yield from _in_block(one.block or (), one.words[-1], _root(one, root), file)
