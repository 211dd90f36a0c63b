# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which images were built from a release's folder with its secrets in it, and whose values have to be changed therefore."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from ..base.secret_values import assignments
from ..base.truncate_list import some
from ..releases.project import PROJECT_LABEL
from .command_line import CLEAN, CLEAN_LABEL

_SHORT, _SHOWN = 5, 20
_COMMON = re.compile(r"\d+|true|false|none|null|production|localhost", re.IGNORECASE)


def may_hold(section: Mapping[str, Any], labels: Mapping[str, str], app: str, tree: str, shared: Iterable[str]) -> bool:
    """Whether an image may have files that were generated in a release, or are the server's own.

    :param section: the ``build`` section that it was built by.
    :param labels: the image's; what was built elsewhere has none of ours.
    :param shared: paths in the tree that are the server's own, such as ``.env``.
    """
    if labels.get(PROJECT_LABEL) != app or labels.get(CLEAN_LABEL) == CLEAN:
        return False
    contexts = [str(c) for c in (section.get("context"), *(section.get("additional_contexts") or {}).values())]
    secret = [f"{tree}/compose.yaml", *(f"{tree}/{path}" for path in shared)]
    return any(path.startswith(f"{c.rstrip('/')}/") for c in contexts if c.startswith("/") for path in secret)


def held(texts: Collection[str], environment: str) -> set[str]:
    """The variables of an environment file whose values stand in these texts; what is short or common is no secret.

    :param texts: of generated Compose files, and of environment files of then.
    """
    found = set()
    for name, value in assignments(environment):
        if len(value) <= _SHORT or _COMMON.fullmatch(value):
            continue
        # As it is, and as the generated file has it.
        forms = (value, json.dumps(value.replace("$", "$$"), ensure_ascii=False)[1:-1])
        if any(form in text for form in forms for text in texts):
            found.add(name)
    return found


def findings_of(baked: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """What to say of such images, and what to do.

    :param baked: each with ``image`` and ``variables``.
    """
    if not baked:
        return []
    names = some(sorted({v for one in baked for v in one["variables"]}), _SHOWN)
    images = some(sorted({str(one["image"]) for one in baked}), _SHOWN)
    what = f"images that were built with the server's environment in them may hold the values of {names}: {images}"
    todo = f"change what is secret of {names}, in shared/ and where it is checked; then "
    return [(what, f"{todo}ansible-playbook evenkeel.deploy.update -e update_version=VERSION -e update_rebuild=true")]
