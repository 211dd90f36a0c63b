# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs in a container that has the live files and what jobs built: publishes them if they are a whole site.

Sent as text behind ``publish_build.py``, which does it: standard library only.  Prints one line ``EVENKEEL {json}``.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterable, Sequence

from .. import built_site
from ..built_site import Build
from . import publish
from .publish import OTHER, SAME, BuildFailed, Publication
from .published import PRIVATE, files_in, load

_LARGEST_PAGE = 8 * 1024 * 1024


def _sizes(folder: str, names: Iterable[str]) -> dict[str, int]:
    """Path → bytes, of those that are plain files."""
    found = {}
    for name in names:
        at = os.path.join(folder, name)
        if os.path.lexists(at) and stat.S_ISREG(os.lstat(at).st_mode):
            found[name] = os.lstat(at).st_size
    return found


def _page(path: str) -> str:
    if not os.path.isfile(path) or os.path.islink(path) or os.path.getsize(path) > _LARGEST_PAGE:
        # Nobody reads it, so nothing is held against it.
        return "<>"
    with open(path, encoding="utf-8", errors="replace") as stream:
        return stream.read()


def seen(made: Publication, release: str, differs: bool) -> Build:
    """What was built beside what is served.

    :param release: whose build is served, empty where nobody knows.
    :param differs: whether it has to be another one.
    """
    names = load(os.path.join(made.root, PRIVATE, "lists", "build", f"{release}.json")) if release else ()
    before = [str(n) for n in names or () if not os.path.isabs(str(n)) and ".." not in str(n).split("/")]
    pages = [p for p in made.sources if built_site.is_page(p)]
    sizes = {p: n for p, source in made.sources.items() for n in _sizes("/", [source]).values()}
    # Of a run that was killed in the middle some are there already.
    begun = os.path.exists(os.path.join(made.ours, "unfinished"))
    return Build(
        {p: sizes.get(p, 0) for p in made.sources},
        _sizes(made.root, before),
        {p: _page(made.sources[p]) for p in pages},
        {p: _page(made.live(p)) for p in pages if os.path.lexists(made.live(p))},
        [p for p in files_in(made.root) if p.split("/", 1)[0] != PRIVATE],
        [p for p, status in made.status.items() if status == OTHER and not _only_about(made, p)],
        begun or not differs or any(status != SAME for status in made.status.values()),
    )


def _only_about(made: Publication, relative: str) -> bool:
    """Whether a file has another owner or other permissions only."""
    source, live = made.sources[relative], made.live(relative)
    if os.path.islink(source) or os.path.islink(live) or os.path.getsize(source) != os.path.getsize(live):
        return False
    with open(source, "rb") as one, open(live, "rb") as other:
        return one.read() == other.read()


def main(
    state: str,
    root: str,
    folder: str,
    release: str,
    run: str,
    everything: bool,
    living: Sequence[str],
    starting: Sequence[Sequence[float]] | None,
    kept: str,
    differs: bool,
) -> None:
    """Publish it, or print why it is not."""
    own = load(os.path.join(root, PRIVATE, "build", "own.json"))
    if own != {"release": release, "run": run}:
        try:
            made = Publication(root, [os.path.join(folder, name) for name in sorted(os.listdir(folder))])
            found = built_site.problems(seen(made, str(own.get("release") or ""), differs))
        except BuildFailed as error:
            found = [str(error)]
        if found:
            sys.stdout.write("\nEVENKEEL " + json.dumps({"refused": found}) + "\n")
            return
    publish.main(state, root, folder, release, run, everything, living, starting, kept)
