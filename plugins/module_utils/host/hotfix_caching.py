# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the app's nginx lets browsers keep of files that a hotfix changes, for who asks before it is done."""

from __future__ import annotations

from collections.abc import Sequence

from ..decide.nginx_caching import kept_long
from ..decide.nginx_syntax import UnreadableConfig, load, split_dump
from ..decide.services import PROXY
from .engine import EngineFailed
from .hotfix_view import Serving
from .inspection import label_of, pid_of
from .machine import SERVICE_LABEL
from .nginx import Nginx, NginxFailed


def notes(here: Serving, paths: Sequence[str]) -> list[str]:
    """A note for each line that keeps one of the site's paths for long; where that cannot be told, why."""
    found = []
    for inspection in here.containers if paths else ():
        if here.kinds.get(label_of(inspection, SERVICE_LABEL)) == PROXY and pid_of(inspection):
            nginx = Nginx(here.engine, inspection)
            try:
                dump = nginx.described()
                found += [kept.told() for kept in kept_long(load(dump), next(iter(split_dump(dump))), paths)]
            except (NginxFailed, UnreadableConfig, EngineFailed) as error:
                found.append(f"what {nginx.name} lets browsers keep of it cannot be told: {error}")
    return list(dict.fromkeys(found))
