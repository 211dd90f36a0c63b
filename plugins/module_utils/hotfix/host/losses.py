# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The refusal of versions that would lose what hotfixes have mended in production."""

from __future__ import annotations

from collections.abc import Sequence

from ...base.errors import BadInput
from ...git.host.git import Git, GitFailed
from ...releases.host.store import Store
from .. import lost_hotfixes
from . import git_hotfixes, in_place_record, ledger


def names_of(store: Store, state_dir: str, revision: str, dropped: Sequence[str]) -> tuple[list[str], list[str]]:
    """The names of hotfixes that may be lost, and a note on each word that names none here.

    Another host may have that one, so it is no error: a hotfix that is not named is refused all the same.
    """
    there, built = ledger.in_force(store), ledger.built_in_force(store, state_dir)
    every = (*there, *in_place_record.applied(store, state_dir, revision))
    names, unknown = lost_hotfixes.names_of(dropped, every, built)
    known = ", ".join(dict.fromkeys([*(h.name for h in every), *built])) or "none"
    return names, [f"no hotfix that is in production here is called {word}; there are: {known}" for word in unknown]


def refuse_losing(
    store: Store, state_dir: str, version: str, revision: str, git: Git | None, dropped: Sequence[str]
) -> list[str]:
    """Refuse a revision that lacks what production has, unless it is named; returns the names that are dropped by it.

    :param dropped: names, as :func:`names_of` gives them.
    :param git: where revisions can be compared; a plain folder has no history, and no hotfix either.
    :raises BadInput: it does, or nobody can tell.
    """
    in_place = in_place_record.applied(store, state_dir, revision)
    there, built = (*ledger.in_force(store), *in_place), ledger.built_in_force(store, state_dir)
    # The release that is there already runs no job again.
    over = list(built) if revision != store.manifest(store.current()).get("revision") else []
    for name in over:
        if name not in dropped:
            raise BadInput(*lost_hotfixes.refusal_of_built(f"{version} ({revision[:12]})", name, built[name]))
    if git is None or not there:
        return over
    try:
        lost = git_hotfixes.lacking(git, there, revision)
    except GitFailed as error:
        raise BadInput(
            f"whether {version} has what was fixed in production cannot be told: {error}", error.advice
        ) from error
    for hotfix, verdict in lost:
        if hotfix.name not in dropped:
            what, advice = lost_hotfixes.refusal(
                f"{version} ({revision[:12]})", hotfix, verdict, ledger.patch_of(state_dir, hotfix.name)
            )
            if hotfix in in_place:
                advice = f"it is in running containers only, so seal it first: {in_place_record.seal(hotfix.name)}; then {advice}"
            raise BadInput(what, advice)
    return [*(h.name for h, _verdict in lost), *over]
