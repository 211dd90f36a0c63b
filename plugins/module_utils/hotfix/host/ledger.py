# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is remembered of each hotfix in the state directory."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ...base.errors import BadInput
from ...base.host.files import private_directory, read_json, write_private
from ...releases.host.store import Store
from .. import lost_hotfixes
from ..hotfix import problem_with_name
from ..lost_hotfixes import Applied

_FOLDER = "hotfixes"


def path_of(state_dir: str, name: str, end: str = "json") -> str:
    """Where one hotfix is remembered; ``patch`` is its change as text."""
    return os.path.join(state_dir, _FOLDER, f"{name}.{end}")


def write(state_dir: str, name: str, about: Mapping[str, Any], patch: str) -> bool:
    """Remember a hotfix; returns whether that changed anything."""
    private_directory(os.path.join(state_dir, _FOLDER))
    known = read_json(path_of(state_dir, name))
    text = json.dumps({**known, **about}, indent=1, sort_keys=True) + "\n"
    wrote = write_private(path_of(state_dir, name, "patch"), patch)
    return write_private(path_of(state_dir, name), text) or wrote


def add(state_dir: str, name: str, about: Mapping[str, Any]) -> None:
    """Remember more of a hotfix that is remembered; its change stays as it is."""
    write(state_dir, name, about, patch_of(state_dir, name))


def read(state_dir: str, name: str) -> dict[str, Any]:
    """What is remembered of one, empty where nothing is."""
    return {} if problem_with_name(name) else read_json(path_of(state_dir, name))


def refuse_taken(state_dir: str, name: str, chain: Sequence[Applied]) -> None:
    """Look whether another hotfix has a name.

    :param chain: those that the running release has on itself.
    :raises BadInput: one has.
    """
    if any(h.name == name for h in chain):
        raise BadInput(f"a hotfix called {name} is in production already, and is another one", "set hotfix_name")
    for kind, what in (("live", "uploads or built files"), ("database", "the database")):
        if read(state_dir, name).get(kind):
            raise BadInput(f"a hotfix of {what} is called {name}", "set hotfix_name")


def forget(state_dir: str, name: str) -> None:
    """Remember nothing of one that never came about."""
    for end in ("patch", "migration.py", "json"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path_of(state_dir, name, end))


def if_wrong(name: str) -> list[str]:
    """What a summary says of how a hotfix goes again that no release holds."""
    return [f"if it was wrong: ansible-playbook evenkeel.deploy.rollback -e rollback_hotfix={name}"]


def names(state_dir: str) -> list[str]:
    """The hotfixes that are remembered, those that are in production no more among them."""
    folder = os.path.join(state_dir, _FOLDER)
    return sorted(n[:-5] for n in (os.listdir(folder) if os.path.isdir(folder) else ()) if n.endswith(".json"))


def every(state_dir: str) -> dict[str, dict[str, Any]]:
    """All that is remembered: name → what is remembered of it."""
    return {name: read(state_dir, name) for name in names(state_dir)}


def patch_of(state_dir: str, name: str) -> str:
    """The change of one as text, empty where that is not there."""
    try:
        with open(path_of(state_dir, name, "patch"), encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def in_force(store: Store) -> tuple[Applied, ...]:
    """The hotfixes that the running release has beside its update, oldest first."""
    current = store.current()
    return lost_hotfixes.in_force(store.manifest(current).get("hotfixes")) if current else ()


def placed(store: Store, state_dir: str) -> dict[str, dict[str, Any]]:
    """The hotfixes of uploads and built files that were put there since the last update: name → what is remembered."""
    current = store.current()
    base = lost_hotfixes.updated_to(store.manifest(current)) if current else ""
    known = every(state_dir) if base else {}
    return {n: a for n, a in known.items() if a.get("live") and a.get("base") == base and not a.get("reverted")}


def of_uploads(state_dir: str) -> dict[str, dict[str, Any]]:
    """The hotfixes of uploads that are in force, whatever was updated since: name → what is remembered."""
    known = every(state_dir)
    return {n: a for n, a in known.items() if a.get("live") and a.get("kind") == "media" and not a.get("reverted")}


def of_databases(state_dir: str) -> dict[str, dict[str, Any]]:
    """The hotfixes of databases that are in force, whatever was updated since: name → what is remembered."""
    ended = ("reverted", "merged", "replaced")
    return {
        name: about
        for name, about in every(state_dir).items()
        if (about.get("database") or {}).get("state") in ("committing", "applied")
        and not any(about.get(w) for w in ended)
    }


def built_in_force(store: Store, state_dir: str) -> dict[str, list[str]]:
    """Of these those whose files jobs build: name → paths."""
    there = placed(store, state_dir)
    return {name: sorted(about.get("sums") or {}) for name, about in there.items() if about["live"].get("built")}


def refuse_building_over(store: Store, state_dir: str, jobs: Sequence[str]) -> None:
    """Look whether what jobs build would go over a hotfix of built files.

    :raises BadInput: it would.
    """
    for name, paths in built_in_force(store, state_dir).items() if jobs else ():
        raise BadInput(
            f"{' and '.join(jobs)} would build over the hotfix {name} of built files that is in production "
            f"({', '.join(paths[:10])})",
            f"put that change into the source as well and take it back first: ansible-playbook evenkeel.deploy.rollback "
            f"-e rollback_hotfix={name}; then run the same command again",
        )


def note_dropped(state_dir: str, names: Sequence[str], version: str) -> None:
    """Remember that an update to a version was allowed to lose hotfixes."""
    for name in names:
        known = read(state_dir, name)
        versions = [*(known.get("dropped_for") or []), version]
        write_private(
            path_of(state_dir, name),
            json.dumps({**known, "name": name, "dropped_for": list(dict.fromkeys(versions))}, indent=1, sort_keys=True)
            + "\n",
        )
