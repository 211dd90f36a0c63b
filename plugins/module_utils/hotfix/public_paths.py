# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Under which paths of a site changed files are served, for whoever keeps copies of them in front of it: pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .hotfix import FRONTEND, STATIC
from .staging import MEDIA

_INDEX = "index.html"


def public_paths(kinds: Mapping[str, Iterable[str]]) -> list[str]:
    """The paths of static files, built files and uploads, as Django's start project and most sites have them.

    :param kinds: for each kind its files: those of ``static`` by their paths in the repository, others in their folder.
    """
    found = [f"/static/{path.rpartition('static/')[2]}" for path in kinds.get(STATIC) or ()]
    found += [f"/media/{path}" for path in kinds.get(MEDIA) or ()]
    found += [f"/{path}" for path in kinds.get(FRONTEND) or ()]
    return as_asked(found)


def as_asked(paths: Iterable[str]) -> list[str]:
    """Paths of files, and of the folders for which such a file is the answer."""
    known = set(paths)
    return sorted(known | {path[: -len(_INDEX)] for path in known if path.endswith(f"/{_INDEX}")})
