# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which changed catalogues of gettext have to be compiled for Django to read them, and why one cannot be: pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ..engine.services import ROLLED_KINDS
from ..git.changes import Change
from .hotfix import IMAGE, MOUNT, UPDATE, Home, Refusal
from .in_place import SEALED


def compiled_path(path: str) -> str:
    """Where Django looks for the compiled form of a catalogue: beside it."""
    return f"{path[:-3]}.mo"


def catalogues(changes: Sequence[Change], homes: Mapping[str, Sequence[Home]]) -> list[str]:
    """The changed catalogues that code which is replaced has, without those that bring their compiled form along.

    What a front end makes of its own its builder compiles.
    """
    brought = {c.path for c in changes}
    return sorted(
        c.path
        for c in changes
        if c.path.endswith(".po")
        and compiled_path(c.path) not in brought
        and any(h.where in (IMAGE, MOUNT) and h.kind in ROLLED_KINDS for h in homes.get(c.path) or ())
    )


def uncompilable(due: Sequence[str], tracked: Collection[str], in_place: bool, version: str) -> dict[str, Refusal]:
    """Path → why it is not compiled by us.

    :param due: see :func:`catalogues`.
    :param tracked: compiled forms that are in the repository too.
    :param in_place: whether running containers are to get it.
    :param version: what to update to instead.
    """
    found = {}
    for path in due:
        compiled, folder = compiled_path(path), path.split("/")[-2:-1]
        if compiled in tracked:
            what = f"{compiled} is in the repository beside it, and would stay what it was"
            instead = f"compile it (django-admin compilemessages), and name {compiled} as well"
        elif folder != ["LC_MESSAGES"]:
            what = f"{path} is a catalogue that lies in no LC_MESSAGES, so only its build knows what it is compiled to"
            instead = UPDATE.format(version)
        elif in_place:
            what, instead = f"{path} has to be compiled, which is done for a release", SEALED
        else:
            continue
        found[path] = Refusal("translation", what, instead)
    return found
