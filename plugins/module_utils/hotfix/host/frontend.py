# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a hotfix is source of a front end on this host: by which jobs it is built, what stands in their way, which need not run."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence

from ...base.host.files import private_directory, read_json, write_private
from ...git.changes import Change
from .. import frontend_sources
from ..frontend_sources import Builder
from ..hotfix import Home
from . import ledger
from .view import Serving


class Frontends:
    """The jobs of what serves that build for the proxy, and which changed files are theirs.

    :ivar homes: where each file is, without images that only have a builder's files along.
    :ivar sources: path → the jobs that build from it; ``unbuildable``: path → why none can.
    """

    def __init__(self, here: Serving, homes: Mapping[str, Sequence[Home]], changes: Sequence[Change], ref: str) -> None:
        self.builders: dict[str, Builder] = frontend_sources.builders(
            here.project, here.kinds, here.release, here.path, here.images
        )
        others = frontend_sources.app_folders(here.project, here.kinds, here.path)
        self.unbuildable = frontend_sources.unbuildable(
            [c.path for c in changes], homes, self.builders, others, ref or "BRANCH", not ref
        )
        self.homes, along = frontend_sources.without_ballast(homes, self.builders, here.project, others)
        self.sources = frontend_sources.sources(self.homes, self.builders)
        self.notes = [
            f"{path} is built by {' and '.join(self.sources.get(path) or ())}; the images of {', '.join(dict.fromkeys(services))}, "
            "which have it along, get it with the next update"
            for path, services in sorted(along.items())
        ]

    def due(self, here: Serving, state_dir: str, jobs: Sequence[str]) -> list[str]:
        """The jobs that are run, with a note on who reads what they build.

        :raises BadInput: what they build would go over a hotfix of built files.
        """
        ledger.refuse_building_over(here.store, state_dir, jobs)
        due = frontend_sources.together(self.builders, jobs)
        for service in sorted({r for job in due for r in self.builders[job].readers}):
            self.notes.append(
                f"{service} reads what is built as well, and may keep what it has read until it is restarted (hotfix_restart={service})"
            )
        return due


def carry_records(before: str, after: str, due: Sequence[str]) -> None:
    """Have a hotfix's release know which jobs have run, so that none runs again when that release is gone back to.

    Whoever asks compares definition and image, and looks for what a job built.

    :param before: folder of the release that it is put on, ``after`` its own.
    :param due: jobs that are run for it.
    """
    known = os.path.join(before, ".evenkeel", "jobs")
    for name in sorted(os.listdir(known)) if os.path.isdir(known) else ():
        own = os.path.join(after, ".evenkeel", "jobs", name)
        if name.endswith(".json") and name[:-5] not in due and not os.path.exists(own):
            private_directory(os.path.dirname(own))
            write_private(own, json.dumps(read_json(os.path.join(known, name)), indent=1, sort_keys=True) + "\n")
